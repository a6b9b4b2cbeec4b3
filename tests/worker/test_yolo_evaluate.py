"""Evaluations of trained models on dataset versions, some of which have other classes than the models."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from bloomery_vision.figures import figures_of
from bloomery_vision.geometry import Shape, Tag
from bloomery_vision.records import from_parquet
from bloomery_worker.applying import paced
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.messages import Note, ProgressNote
from tests.worker.conftest import SPLITS
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import applied
from tests.worker.sample_data import Version, as_version, relabelled, tagged, voc_rows
from tests.worker.test_parts import JOB

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


def evaluated(trainer: FakeTrainer) -> dict[str, Any]:
    """What the document says of each split."""
    found: dict[str, Any] = json.loads(trainer.content("evaluation"))["evaluations"]
    return found


def measured(trainer: FakeTrainer) -> tuple[dict[str, float], dict[str, Any], dict[str, Any]]:
    """Metrics, details and the evaluation of a job that succeeded."""
    assert trainer.finished is not None
    success = trainer.finished.success
    assert [artifact.role for artifact in success.artifacts] == ["evaluation", "figures", "report", "records"]
    return dict(success.metrics), MessageToDict(success.details), evaluated(trainer)


@pytest.fixture
def models(
    detector: FakeTrainer,
    segmenter: FakeTrainer,
    classifier: FakeTrainer,
    cells: Version,
    outlines: Version,
    tags: Version,
) -> Mapping[str, tuple[FakeTrainer, Version]]:
    """A model of each task with its data."""
    return {"detect": (detector, cells), "segment": (segmenter, outlines), "classify": (classifier, tags)}


async def test_an_evaluation_is_the_one_that_the_training_made(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = await applied("yolo-detect", "EVALUATE", detector, cells, tmp_path)
    metrics, details, evaluation = measured(trainer)
    assert detector.finished is not None
    trained = detector.finished.success.metrics
    assert metrics == {name: value for name, value in trained.items() if name.startswith("test/")}
    assert evaluation["test"] == evaluated(detector)["test"]
    assert details["model"] == {"version": "projects/cells/models/d/versions/1", "classes": list(cells.classes)}
    assert details["base"]["digest"] == detector.kept["checkpoint"].digest
    assert details["dataset"]["version"] == "projects/cells/datasets/d/versions/1"
    assert details["dataset"]["content_hash"].startswith("sha256:")
    assert (details["task"], details["split"], details["images"]) == ("detect", "test", 4)
    assert (details["classes"], details["missing_classes"]) == (list(cells.classes), [])
    assert "evaluating" in trainer.phases


async def test_all_images_are_measured_where_that_is_asked(
    segmenter: FakeTrainer, outlines: Version, tmp_path: Path
) -> None:
    trainer = await applied("yolo-segment", "EVALUATE", segmenter, outlines, tmp_path, split="all")
    metrics, details, evaluation = measured(trainer)
    assert {"all/map50", "all/map50_95", "all/precision", "all/recall"} <= set(metrics)
    assert details["images"] == evaluation["all"]["images"] == 16


async def test_a_classifier_is_measured_by_its_tags(classifier: FakeTrainer, tags: Version, tmp_path: Path) -> None:
    trainer = await applied("yolo-classify", "EVALUATE", classifier, tags, tmp_path, split="val")
    metrics, _, evaluation = measured(trainer)
    assert classifier.finished is not None
    assert metrics["val/accuracy"] == classifier.finished.success.metrics["val/accuracy"]
    assert [one["class"] for one in evaluation["val"]["per_class"]] == ["few", "many"]


@pytest.mark.parametrize("task", ["detect", "segment", "classify"])
async def test_what_is_recorded_of_each_image_gives_the_published_figures(
    task: str,
    models: Mapping[str, tuple[FakeTrainer, Version]],
    tmp_path: Path,
) -> None:
    trainer = await applied(f"yolo-{task}", "EVALUATE", *models[task], tmp_path, split="all")
    metrics, _, _ = measured(trainer)
    records = from_parquet(trainer.content("records"))
    assert len(records) == 16
    assert len(set(records.column("asset").to_pylist())) == 16
    found = {f"all/{name}": value for name, (value,) in figures_of(records)(np.ones((1, 16))).items()}
    assert found == pytest.approx({name: metrics[name] for name in found}, abs=1e-9)
    assert found.keys() <= metrics.keys()


async def test_images_that_do_not_count_are_told(classifier: FakeTrainer, examples_dir: Path, tmp_path: Path) -> None:
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split=SPLITS)
    first, *others = tagged(rows)
    version = as_version([replace(first, shapes=(*first.shapes, Shape(Tag(), "third"))), *others], blobs)
    trainer = await applied("yolo-classify", "EVALUATE", classifier, version, tmp_path, split="all")
    _, details, _ = measured(trainer)
    assert details["images"] == 15
    lines = [event.log.message for event in trainer.of_kind("log")]
    assert "images without exactly one tag, which do not count: 1" in lines


async def test_classes_are_matched_by_name_and_those_that_the_model_lacks_are_missed(
    detector: FakeTrainer, cells: Version, examples_dir: Path, tmp_path: Path
) -> None:
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split=SPLITS)
    version = as_version(relabelled(rows, {"Platelets": "Thrombocytes"}), blobs)
    trainer = await applied("yolo-detect", "EVALUATE", detector, version, tmp_path)
    _, details, evaluation = measured(trainer)
    assert details["classes"] == ["Platelets", "RBC", "WBC", "Thrombocytes"]
    assert details["missing_classes"] == ["Thrombocytes"]
    lines = [event.log.message for event in trainer.of_kind("log")]
    assert "The model lacks the classes Thrombocytes: their objects count as missed." in lines
    found = {one["class"]: one for one in evaluation["test"]["per_class"]}
    trained = {one["class"]: one for one in evaluated(detector)["test"]["per_class"]}
    assert (found["RBC"], found["WBC"]) == (trained["RBC"], trained["WBC"])
    assert found["Thrombocytes"]["instances"] == trained["Platelets"]["instances"] > 0
    assert found["Thrombocytes"]["ap50"] == found["Thrombocytes"]["recall"] == 0


async def test_without_a_common_class_there_is_nothing_to_measure(
    detector: FakeTrainer, examples_dir: Path, tmp_path: Path
) -> None:
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split=SPLITS)
    others = {"Platelets": "cat", "RBC": "cow", "WBC": "dog"}
    version = as_version(relabelled(rows, others), blobs)
    trainer = await applied("yolo-detect", "EVALUATE", detector, version, tmp_path, code=42)
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert reason.code == "DATA_ERROR"
    assert "Platelets, RBC, WBC here, cat, cow, dog there" in reason.message


async def test_a_split_without_images_is_refused(detector: FakeTrainer, examples_dir: Path, tmp_path: Path) -> None:
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split={"train": 2, "val": 1})
    trainer = await applied("yolo-detect", "EVALUATE", detector, as_version(rows, blobs), tmp_path, code=42)
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert reason.code == "DATA_ERROR"
    assert "no images in the split test; it has 2 in train, 1 in val, 0 in test" in reason.message


async def test_a_model_of_another_task_is_refused(classifier: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    trainer = await applied("yolo-detect", "EVALUATE", classifier, cells, tmp_path, code=42)
    assert trainer.finished is not None
    assert trainer.finished.failure.reason.code == "CONFIG_ERROR"
    assert "classify" in trainer.finished.failure.reason.message


def test_work_on_many_images_tells_how_far_it_is_and_ends_on_request() -> None:
    told: list[Note] = []
    stop, now = threading.Event(), iter((0.0, 0.0, 0.4, 1.2, 1.2))
    check = paced(Context(JOB, told.append, stop), "evaluating", 4, "cpu", clock=lambda: next(now))
    for _ in range(3):
        check()
    assert [(note.step, note.steps, note.fraction) for note in told if isinstance(note, ProgressNote)] == [
        (0, 4, 0.0),
        (2, 4, 0.5),
    ]
    stop.set()
    with pytest.raises(StopRequestedError):
        check()
