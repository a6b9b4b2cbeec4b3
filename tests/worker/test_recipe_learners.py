"""What the learners of the recipes on our own loop measure, and keep in memory."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bloomery_recipe_detr import networks as detectors
from bloomery_recipe_detr.images import Scenes
from bloomery_recipe_detr.learning import DetectorLearner
from bloomery_recipe_timm import networks
from bloomery_recipe_timm.images import Tagged
from bloomery_recipe_timm.learning import ClassifierLearner
from bloomery_worker import machine
from bloomery_worker.checking import samples
from bloomery_worker.checking.subject import Subject
from bloomery_worker.context import Context
from bloomery_worker.training.room import MOST, room
from tests.worker.test_parts import JOB

pytestmark = pytest.mark.timeout(300)


def context(folder: Path, task: str, package: str) -> Context:
    """A job on images of three classes, of which the validation images have two."""
    version = samples.make(folder, task, splits={"train": 6, "val": 2, "test": 0})
    parameters = Subject.read(package).parameters("TRAIN", {"imgsz": 64})
    job = replace(
        JOB, task=task, cache_dir=str(folder), manifest=str(version.manifest), classes=version.classes,
        parameters=parameters,
    )  # fmt: skip
    return Context(job, lambda _: None, threading.Event())


@pytest.fixture
def classifier(tmp_path: Path) -> ClassifierLearner:
    job = context(tmp_path, "classify", "bloomery_recipe_timm.resnet")
    return ClassifierLearner(job, "resnet18", networks.build("resnet18", 3))


@pytest.fixture
def detector(tmp_path: Path) -> DetectorLearner:
    job = context(tmp_path, "detect", "bloomery_recipe_detr.detect")
    config = detectors.fitted(detectors.random_config("rtdetr_tiny"), job.job.classes, 64)
    return DetectorLearner(job, detectors.build(config))


def test_classes_without_validation_images_are_not_measured(
    classifier: ClassifierLearner, detector: DetectorLearner
) -> None:
    for learner in (classifier, detector):
        assert {name for name in learner.measures if name.startswith("val/recall/")} == {
            "val/recall/blue", "val/recall/green",
        }  # fmt: skip
        with torch.no_grad():
            found = learner.measure(learner.network.eval(), lambda: None)
        assert list(found) == list(learner.measures)


def test_images_are_kept_in_a_part_of_the_jobs_memory_shared_by_its_loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    job = replace(JOB, memory_bytes=64 << 30, parameters={"workers": 3})
    assert room(job) == MOST
    job = replace(job, memory_share=4 << 30)
    assert room(job) == 512 << 20
    monkeypatch.setattr(machine, "device", lambda: "cuda:0")
    assert room(job) == 128 << 20


def test_no_more_images_are_kept_than_there_is_room_for(tmp_path: Path) -> None:
    job = context(tmp_path, "classify", "bloomery_recipe_timm.resnet").job
    one = 64 * 64 * 3
    dataset = Context(job, lambda _: None, threading.Event()).dataset
    images = Tagged(dataset, "train", job.classes, lambda image: image, room=one)
    scenes = Scenes(dataset, "train", job.classes, 64, room=one)
    assert images[0] is images[0]
    assert images[1] is not images[1]
    assert scenes[0] is scenes[0]
    assert scenes[1] is not scenes[1]
