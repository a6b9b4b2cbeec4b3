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

import numpy as np
import onnxruntime
import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import ModelFacts, ModelInput, Reason
from bloomery.vision.v1 import TASK_TYPE_CLASSIFY, TASK_TYPE_DETECT, TASK_TYPE_SEGMENT
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.messages import Note
from tests.worker.board_reader import on_tensorboard
from tests.worker.conftest import SPLITS
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import TINY, attempt, job, recipe, trainer_for
from tests.worker.sample_data import Version, cached, digest
from tests.worker.test_parts import JOB

CPU = "CPUExecutionProvider"
SAMPLES = {"sample_predictions": 1}

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


def test_a_training_publishes_a_measured_model(detector: FakeTrainer) -> None:
    assert detector.finished is not None
    success = detector.finished.success
    files = {artifact.role for artifact in success.artifacts if not artifact.role.startswith("variant/")}
    assert files == {"checkpoint", "metrics", "evaluation", "figures", "report"}
    measured = ("map50", "map50_95", "map75", "precision", "recall", "f1", "overall_confidence")
    assert set(success.metrics) >= {f"{split}/{name}" for split in ("val", "test") for name in measured}
    assert success.details["epochs"] == 2
    assert success.details["base"] == {"name": "scratch", "digest": "", "license": ""}
    data = MessageToDict(success.details)["data"]
    assert data == {"images": SPLITS, "used": {name: SPLITS[name] for name in ("train", "val")}, "left_out": {}}
    assert success.versions["ultralytics"]


def test_a_training_says_what_has_to_be_known_to_use_its_model(
    detector: FakeTrainer, classifier: FakeTrainer, cells: Version
) -> None:
    assert detector.finished is not None
    assert detector.finished.success.model == ModelFacts(
        task=TASK_TYPE_DETECT,
        classes=cells.classes,
        input=ModelInput(height=64, width=64, resize="letterbox"),
        decoder="yolo",
        license="AGPL-3.0-only",
        base="scratch",
    )
    assert classifier.finished is not None
    model = classifier.finished.success.model
    assert (model.task, model.decoder, model.input.resize) == (TASK_TYPE_CLASSIFY, "probabilities", "center-crop")


def test_a_training_measures_each_class_at_the_end_of_each_epoch(
    detector: FakeTrainer, segmenter: FakeTrainer, classifier: FakeTrainer
) -> None:
    boxes = {"precision", "recall", "f1", "map50"}
    for trainer, names in (
        (detector, boxes),
        (segmenter, boxes | {f"mask_{name}" for name in boxes}),
        (classifier, {"precision", "recall", "f1"}),
    ):
        ends = [event.metrics.values for event in trainer.of_kind("metrics") if event.metrics.epoch_end]
        assert len(ends) == 2
        for measured in ends:
            of_classes = {tuple(name.split("/")[1:]): value for name, value in measured.items() if name.count("/") == 2}
            assert {name for name, _ in of_classes} == names
            assert all(0 <= value <= 1 for value in of_classes.values())
            recalls = [value for (name, _), value in of_classes.items() if name == "recall"]
            if trainer is classifier:
                assert measured["val/balanced_accuracy"] == pytest.approx(sum(recalls) / len(recalls))


def test_a_checkpoint_has_a_file_that_trainings_start_from(detector: FakeTrainer, tmp_path: Path) -> None:
    from bloomery_recipe_yolo.model import TrainedModel

    [role] = [role for role in detector.kept if role.endswith("/2/weights.pt")]
    (tmp_path / "weights.pt").write_bytes(detector.content(role))
    model = TrainedModel(tmp_path / "weights.pt", device="cpu")
    assert detector.finished is not None
    assert (model.task, list(model.classes)) == ("detect", list(detector.finished.success.model.classes))


def test_a_training_ends_with_a_model_that_can_predict(
    detector: FakeTrainer, segmenter: FakeTrainer, classifier: FakeTrainer
) -> None:
    for trainer in (detector, segmenter, classifier):
        assert trainer.finished is not None
        [variant] = trainer.finished.success.variants
        assert (variant.id, variant.format, variant.precision, variant.device) == ("onnx-fp32", "onnx", "fp32", "cpu")
        assert variant.failure == ""
        assert variant.parity.passed
        assert variant.parity.image_count == 8
        assert variant.latency.p95_ms >= variant.latency.p50_ms > 0
        inside = {role.removeprefix(variant.role_prefix) for role in trainer.kept if role.startswith("variant/")}
        assert inside == {"config.pbtxt", "labels.txt", "manifest.json", "1/model.onnx"}
        session = onnxruntime.InferenceSession(trainer.content("variant/1/model.onnx"), providers=[CPU])
        assert session.run(None, {"images": np.zeros((2, 64, 64, 3), dtype=np.uint8)})[0].shape[0] == 2
        assert {"onnx", "onnxruntime"} <= set(trainer.finished.success.versions)
        assert trainer.phases[-4:] == ["exporting", "comparing", "measuring", "publishing"]


@pytest.fixture
def trained(detector: FakeTrainer, cells: Version, tmp_path: Path) -> tuple[Path, Context, list[Note]]:
    """A checkpoint, a context to export it in, and what is told meanwhile."""
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(detector.content("checkpoint"))
    cache = cached(cells, tmp_path / "cache")
    told: list[Note] = []
    work = replace(
        JOB, manifest=str(cache.path(cells.index.digest)), cache_dir=str(cache.root), work_dir=str(tmp_path),
        classes=cells.classes, parameters={"export": "onnx"},
    )  # fmt: skip
    return checkpoint, Context(work, told.append, threading.Event()), told


def test_an_export_that_fails_costs_the_variant_and_not_the_training(
    trained: tuple[Path, Context, list[Note]], caplog: pytest.LogCaptureFixture
) -> None:
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.model import TrainedModel
    from bloomery_recipe_yolo.optimizing import original
    from bloomery_worker.first_variant import first_variant

    class Unwilling(TrainedModel):
        def export(self, path: Path, size: tuple[int, int], *, outputs: tuple[str, ...]) -> None:
            raise MemoryError(f"no room for {size} and {outputs} in {path.name}")

    checkpoint, context, _ = trained
    [variant] = first_variant(context, original(FLAVOURS["detect"], Unwilling(checkpoint, device="cpu")), epochs=2)
    assert variant.files == ()
    assert variant.facts.id == "onnx-fp32"
    assert variant.facts.failure == "no room for (64, 64) and ('output0',) in fp32.onnx"
    assert "the model has no ONNX variant, so that it cannot predict yet: no room" in caplog.text


def test_an_export_stops_on_request_and_keeps_the_training(trained: tuple[Path, Context, list[Note]]) -> None:
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.model import TrainedModel
    from bloomery_recipe_yolo.optimizing import original
    from bloomery_worker.first_variant import first_variant

    checkpoint, context, told = trained
    stop = threading.Event()
    stop.set()
    stopped = Context(context.job, told.append, stop)
    with pytest.raises(StopRequestedError) as asked:
        first_variant(stopped, original(FLAVOURS["detect"], TrainedModel(checkpoint, device="cpu")), epochs=2)
    assert asked.value.epoch == 2


def test_a_training_exports_nothing_where_nobody_wants_it(trained: tuple[Path, Context, list[Note]]) -> None:
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.model import TrainedModel
    from bloomery_recipe_yolo.optimizing import original
    from bloomery_worker.first_variant import first_variant

    checkpoint, context, told = trained
    model = TrainedModel(checkpoint, device="cpu")
    for parameters in ({"export": "none"}, {}):
        unwanted = Context(replace(context.job, parameters=parameters), told.append, threading.Event())
        assert first_variant(unwanted, original(FLAVOURS["detect"], model), epochs=2) == ()
    assert told == []


def test_a_model_of_an_architecture_with_two_heads_names_them(tmp_path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from bloomery_recipe_yolo.model import TrainedModel, write_model

    model: Any = DetectionModel("yolo26n.yaml", nc=2, verbose=False)  # type: ignore[no-untyped-call]
    write_model({"model": model.half()}, tmp_path / "two.pt", ["a", "b"], {"imgsz": 64, "task": "detect"})
    two = TrainedModel(tmp_path / "two.pt", device="cpu")
    assert two.heads == ("one-to-many", "one-to-one")
    (outputs,) = two(np.zeros((1, 64, 64, 3), dtype=np.uint8))
    assert outputs.shape == (1, 4 + 2, 84)
    assert torch.isfinite(torch.from_numpy(outputs)).all()


def test_a_training_tells_its_epochs_and_phases(detector: FakeTrainer) -> None:
    assert [event.metrics.epoch for event in detector.of_kind("metrics") if event.metrics.epoch_end] == [1, 2]
    closing = [event.metrics.values for event in detector.of_kind("metrics") if event.metrics.epoch_end][-1]
    assert {"train/box_loss", "val/map50", "val/map50_95", "lr"} <= set(closing)
    assert 0 < closing["train/data_wait"] < 1
    assert detector.phases[0] == "preparing"
    assert "evaluating" in detector.phases
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
    evaluation = json.loads(detector.content("evaluation"))["evaluations"]
    assert evaluation["test"]["images"] == 4
    assert detector.finished is not None
    of_classes = MessageToDict(detector.finished.success.details)["of_classes"]
    assert {name.split("/")[1] for name in of_classes} == {"precision", "recall", "f1", "map50"}
    assert {one["class"] for one in evaluation["test"]["per_class"]} <= set(cells.classes)


def test_tensorboard_shows_the_training(detector: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    assert detector.finished is not None
    shown = on_tensorboard(detector, tmp_path)
    rows = list(csv.DictReader(io.StringIO(detector.content("metrics").decode())))
    for name in set(rows[0]) - {"epoch", "time"}:
        curve = shown.Scalars(name)
        assert [point.step for point in curve] == [1, 2]
        assert [point.value for point in curve] == pytest.approx([float(row[name]) for row in rows], abs=1e-4)
    assert [point.value for point in shown.Scalars("final/test/map50")] == pytest.approx(
        [detector.finished.success.metrics["test/map50"]]
    )
    tags = shown.Tags()
    assert "val/confusion" in tags["images"]
    assert any(name.startswith("samples/") for name in tags["images"])
    assert {name.removeprefix("val/") for name in tags["tensors"]} & set(cells.classes)
    assert shown.SummaryMetadata("_hparams_/session_start_info").plugin_data.plugin_name == "hparams"


def test_a_segmenter_tells_of_masks(segmenter: FakeTrainer, outlines: Version) -> None:
    assert segmenter.finished is not None
    assert {"test/map50", "val/map50_95"} <= set(segmenter.finished.success.metrics)
    assert {"test/mask_map50", "test/mask_map50_95", "val/mask_map50"} <= set(segmenter.finished.success.metrics)
    for one in json.loads(segmenter.content("evaluation"))["evaluations"]["test"]["per_class"]:
        assert {"ap50", "ap50_95", "mask_ap50", "mask_ap50_95"} <= set(one)
    closing = [event.metrics.values for event in segmenter.of_kind("metrics") if event.metrics.epoch_end][-1]
    assert {"train/seg_loss", "val/mask_map50"} <= set(closing)
    assert segmenter.finished.success.model.task == TASK_TYPE_SEGMENT


def test_a_classifier_keeps_the_order_of_the_classes(classifier: FakeTrainer, tags: Version) -> None:
    assert classifier.finished is not None
    success = classifier.finished.success
    assert {"val/accuracy", "test/accuracy"} <= set(success.metrics)
    assert success.model.classes == list(tags.classes)
    evaluation = json.loads(classifier.content("evaluation"))["evaluations"]
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
    await attempt(trainer, blobs, folder, code=42)
    assert trainer.finished is not None
    return trainer.finished.failure.reason


def test_a_model_that_computes_nothing_shows_no_samples_and_goes_on(
    cells: Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from bloomery_recipe_yolo.flavours import FLAVOURS
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
    sampler = Sampler(Context(work, told.append, threading.Event()), FLAVOURS["detect"], (64, 64))
    sampler.attach(trainer)  # type: ignore[arg-type]
    callbacks["on_fit_epoch_end"](trainer)
    assert told == []
    assert "no samples after epoch 1: the model answers with NaN or infinity" in caplog.messages
