"""What trainings change of their images, and what they leave as it is."""

import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
from PIL import Image

from bloomery_recipe_yolo import augmenting
from bloomery_worker.context import Context
from tests.worker.harness import TINY, attempt, defaults, job, recipe, trainer_for
from tests.worker.sample_data import Version, cached
from tests.worker.test_parts import JOB

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


class _SetUpError(Exception):
    pass


def set_up(
    version: Version, task: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str | float
) -> Any:
    """A trainer of that task just before its first epoch."""
    from bloomery_recipe_yolo import environment, rehearsal

    # What a training without a policy does to it, no later test may see.
    monkeypatch.setitem(sys.modules, "albumentations", albumentations)

    environment.prepare(folder, folder)
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.training import train

    cache = cached(version, folder / "cache")
    work = replace(
        JOB, task=task, manifest=str(cache.path(version.index.digest)), cache_dir=str(cache.root),
        work_dir=str(folder), classes=version.classes, base="scratch", bases=("yolov8n.pt",),
        parameters={**defaults(f"yolo-{task}", "TRAIN"), **TINY, **parameters},
    )  # fmt: skip
    seen = []

    def report(_: Context, trainer: object) -> None:
        seen.append(trainer)
        raise _SetUpError

    monkeypatch.setattr(rehearsal, "report", report)
    with pytest.raises(_SetUpError):
        train(Context(work, lambda _: None, threading.Event()), FLAVOURS[task])
    return seen[0]


def test_a_training_without_a_policy_changes_no_image_by_albumentations(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = set_up(cells, "detect", tmp_path, monkeypatch)
    steps = {type(one).__name__: one for one in trainer.train_loader.dataset.transforms.transforms}
    assert steps["Albumentations"].transform is None


POLICY = "changes_shape,partially_hidden,lighting=poor,camera=shaky,intensity=high"


@pytest.mark.parametrize(("task", "data"), [("detect", "cells"), ("segment", "outlines"), ("classify", "tags")])
def test_a_policy_changes_training_images_and_no_others(
    task: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    version: Version = request.getfixturevalue(data)
    plain = {"mosaic": 0, "translate": 0, "scale": 0, "fliplr": 0, "hsv_h": 0, "hsv_s": 0, "hsv_v": 0, "erasing": 0}
    known = {key: value for key, value in plain.items() if key in defaults(f"yolo-{task}", "TRAIN")}
    trainer = set_up(version, task, tmp_path, monkeypatch, augment=POLICY, **known)
    augmenting.check(trainer)
    images = {name: loader.dataset for name, loader in (("train", trainer.train_loader), ("val", trainer.test_loader))}
    drawn = {name: [one[0]["img"].float() for _ in range(8)] for name, one in images.items()}
    assert any((one != drawn["train"][0]).any() for one in drawn["train"])
    assert all((one == drawn["val"][0]).all() for one in drawn["val"])
    if task != "classify":
        counts = {len(images["train"][0]["cls"]) for _ in range(8)}
        assert max(counts) == len(images["train"].labels[0]["cls"])
        next(one for one in images["train"].transforms.transforms if hasattr(one, "transform")).transform = None
        with pytest.raises(AssertionError, match="policy is not at work"):
            augmenting.check(trainer)


@pytest.mark.parametrize("task", ["detect", "segment", "classify"])
def test_red_is_red_in_every_recipe(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    import bloomery_augment.pipeline as pipelines

    monkeypatch.setattr(pipelines, "_transform", lambda _: albumentations.ToGray(p=1))
    version: Version = request.getfixturevalue({"detect": "cells", "segment": "outlines", "classify": "tags"}[task])
    trainer = set_up(version, task, tmp_path, monkeypatch, augment="lighting=variable", mosaic=0)
    dataset = trainer.train_loader.dataset
    red = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    if task == "classify":
        steps = [one for one in dataset.torch_transforms.transforms if hasattr(one, "transform")]
        grey = np.asarray(steps[0](Image.fromarray(red)))
    else:
        step = next(one for one in dataset.transforms.transforms if type(one).__name__ == "Albumentations")
        grey = step.transform(image=red[..., ::-1].copy(), bboxes=[], class_labels=[])["image"]
    # Red is 0.299 of what seems bright, blue 0.114.
    assert grey[0, 0].tolist() == [76, 76, 76]


async def test_a_policy_that_there_is_not_is_refused_before_anything_is_done(cells: Version, tmp_path: Path) -> None:
    wanted = job("yolo-detect", "TRAIN", base="scratch", **{**TINY, "augment": "low_contrst,lighting=dark"})
    trainer = await attempt(trainer_for(wanted, recipe("yolo-detect"), cells), cells.blobs, tmp_path, code=42)
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert reason.code == "CONFIG_ERROR"
    assert "did you mean low_contrast?" in reason.message
    assert "environment.lighting: 'dark' is none; choose from stable, variable, poor" in reason.message
