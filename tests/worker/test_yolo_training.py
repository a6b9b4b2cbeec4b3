"""Real trainings of the YOLO recipes, small enough for seconds."""

import csv
import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import Reason
from bloomery_worker.context import Context
from bloomery_worker.messages import Note
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import TINY, job, recipe, running, served, trainer_for
from tests.worker.sample_data import Version, cached, digest
from tests.worker.test_parts import JOB

SAMPLES = {"sample_predictions": 1}

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


def test_a_training_publishes_a_measured_model(detector: FakeTrainer, cells: Version) -> None:
    assert detector.finished is not None
    success = detector.finished.success
    assert {artifact.role for artifact in success.artifacts} == {"checkpoint", "metrics", "evaluation", "tensorboard"}
    assert set(success.metrics) == {
        f"{split}/{name}" for split in ("val", "test") for name in ("map50", "map50_95", "precision", "recall")
    }
    assert success.details["classes"] == list(cells.classes)
    assert success.details["input"] == {"height": 64, "width": 64, "resize": "letterbox"}
    assert success.details["epochs"] == 2
    assert success.details["base"] == {"name": "scratch", "digest": "", "license": ""}
    assert success.versions["ultralytics"]


def test_a_training_tells_its_epochs_and_phases(detector: FakeTrainer) -> None:
    assert [event.metrics.epoch for event in detector.of_kind("metrics") if event.metrics.epoch_end] == [1, 2]
    closing = [event.metrics.values for event in detector.of_kind("metrics") if event.metrics.epoch_end][-1]
    assert {"train/box_loss", "val/map50", "val/map50_95", "lr"} <= set(closing)
    assert detector.phases[0] == "preparing"
    assert detector.phases[-2:] == ["evaluating", "publishing"]
    assert "training" in detector.phases


def test_a_training_shows_what_it_sees_in_the_same_images(detector: FakeTrainer) -> None:
    first, last = (event.samples for event in detector.of_kind("samples"))
    assert (first.epoch, last.epoch) == (1, 2)
    assert len(first.samples) == 4
    for before, after in zip(first.samples, last.samples, strict=True):
        assert (before.asset, before.digest, before.file_name) == (after.asset, after.digest, after.file_name)
        assert (before.width, before.height) == (640, 480)
        assert before.asset.startswith("projects/cells/assets/")


def test_a_classifier_shows_a_tag_an_image(classifier: FakeTrainer, tags: Version) -> None:
    for event in classifier.of_kind("samples"):
        for sample in event.samples.samples:
            (shape,) = sample.shapes
            assert shape.WhichOneof("geometry") == "tag"
            assert shape.label in tags.classes
            assert 0 < shape.confidence <= 1


def test_a_segmenter_shows_samples(segmenter: FakeTrainer) -> None:
    assert [event.samples.epoch for event in segmenter.of_kind("samples")] == [1, 2]


def test_the_log_says_what_is_trained(detector: FakeTrainer) -> None:
    lines = [event.log.message for event in detector.of_kind("log")]
    assert "8 images to train on, 4 to validate, 4 to test; on cpu with 1 threads" in lines


def test_a_training_leaves_tables_of_its_metrics(detector: FakeTrainer, cells: Version) -> None:
    table = list(csv.DictReader(io.StringIO(detector.content("metrics").decode())))
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert "val/map50" in table[0]
    evaluation = json.loads(detector.content("evaluation"))
    assert evaluation["test"]["images"] == 4
    assert {one["class"] for one in evaluation["test"]["per_class"]} <= set(cells.classes)


def test_tensorboard_shows_the_table_of_epochs(detector: FakeTrainer, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert detector.finished is not None
    (artifact,) = (one for one in detector.finished.success.artifacts if one.role == "tensorboard")
    (tmp_path / artifact.file_name).write_bytes(detector.content("tensorboard"))
    shown = EventAccumulator(str(tmp_path)).Reload()
    rows = list(csv.DictReader(io.StringIO(detector.content("metrics").decode())))
    assert set(shown.Tags()["scalars"]) == set(rows[0]) - {"epoch", "time"}
    for name in shown.Tags()["scalars"]:
        curve = shown.Scalars(name)
        assert [point.step for point in curve] == [1, 2]
        assert [point.value for point in curve] == pytest.approx([float(row[name]) for row in rows], abs=1e-6)
        assert curve[1].wall_time - curve[0].wall_time == pytest.approx(float(rows[1]["time"]) - float(rows[0]["time"]))


def test_a_segmenter_tells_of_masks(segmenter: FakeTrainer, outlines: Version) -> None:
    assert segmenter.finished is not None
    assert {"test/map50", "val/map50_95"} <= set(segmenter.finished.success.metrics)
    assert {"test/mask_map50", "test/mask_map50_95", "val/mask_map50"} <= set(segmenter.finished.success.metrics)
    for one in json.loads(segmenter.content("evaluation"))["test"]["per_class"]:
        assert {"ap50", "ap50_95", "mask_ap50", "mask_ap50_95"} <= set(one)
    closing = [event.metrics.values for event in segmenter.of_kind("metrics") if event.metrics.epoch_end][-1]
    assert {"train/seg_loss", "val/mask_map50"} <= set(closing)
    assert segmenter.finished.success.details["task"] == "segment"


def test_a_classifier_keeps_the_order_of_the_classes(classifier: FakeTrainer, tags: Version) -> None:
    assert classifier.finished is not None
    success = classifier.finished.success
    assert {"val/accuracy", "test/accuracy"} <= set(success.metrics)
    assert success.details["input"] == {"height": 64, "width": 64, "resize": "center-crop"}
    evaluation = json.loads(classifier.content("evaluation"))
    assert [one["class"] for one in evaluation["test"]["per_class"]] == list(tags.classes) == ["few", "many"]


async def test_base_weights_of_another_task_are_refused(
    classifier: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    failure = await refused(classifier.content("checkpoint"), cells, tmp_path)
    assert failure.code == "CONFIG_ERROR"
    assert "classify" in failure.message


async def test_base_weights_that_are_none_are_refused(cells: Version, tmp_path: Path) -> None:
    failure = await refused(b"no checkpoint at all", cells, tmp_path)
    assert failure.code == "CONFIG_ERROR"
    assert "not a YOLO checkpoint" in failure.message


async def refused(base: bytes, version: Version, folder: Path) -> Reason:
    """Tries to train from some bytes, and returns why that does not work."""
    trainer = trainer_for(job("yolo-detect", "TRAIN", base="", **TINY), recipe("yolo-detect"), version)
    trainer.base = Artifact(digest=digest(base), size_bytes=len(base), logical_key="p0/base", file_name="base.pt")
    blobs = {**version.blobs, "p0/base": base}
    async with served(trainer, Version(version.index, version.classes, blobs)), running(trainer, folder) as worker:
        assert await worker.exit_code() == 42, worker.output
    assert trainer.finished is not None
    return trainer.finished.failure.reason


def test_a_model_that_computes_nothing_shows_no_samples_and_goes_on(
    cells: Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from bloomery_recipe_yolo.sampling import Sampler

    told: list[Note] = []
    cache = cached(cells, tmp_path)
    manifest = str(cache.path(cells.index.digest))
    work = replace(JOB, manifest=manifest, cache_dir=str(tmp_path), classes=cells.classes, parameters=SAMPLES)
    broken: Any = DetectionModel("yolov8n.yaml", nc=len(cells.classes), verbose=False)  # type: ignore[no-untyped-call]
    broken.eval()
    broken.model[0].conv.weight.data.fill_(float("nan"))
    callbacks: dict[str, Callable[[object], None]] = {}
    trainer = SimpleNamespace(
        epoch=0, epochs=1, stop=True, ema=SimpleNamespace(ema=broken), device=torch.device("cpu"),
        add_callback=callbacks.__setitem__,
    )  # fmt: skip
    Sampler(Context(work, told.append, threading.Event()), (64, 64)).attach(trainer)  # type: ignore[arg-type]
    callbacks["on_fit_epoch_end"](trainer)
    assert told == []
    assert "no samples after epoch 1: the model answers with NaN or infinity" in caplog.messages
