"""Checkpoints from elsewhere, imported as model versions."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import ModelInput, Reason
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import applied, attempt, job, recipe
from tests.worker.sample_data import Version, digest

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


async def imported(name: str, content: bytes, folder: Path, *, code: int = 0, **parameters: int) -> FakeTrainer:
    """Imports some bytes, ends with `code`, and returns the service."""
    wanted = job(name, "IMPORT", base="mine.pt", **parameters)
    wanted.dataset_version = ""
    trainer = FakeTrainer(wanted, recipe(name), manifest=None, classes=())
    trainer.base = Artifact(digest=digest(content), size_bytes=len(content), logical_key="p0/inputs/x")
    trainer.base.file_name = "mine.pt"
    return await attempt(trainer, {"p0/inputs/x": content}, folder, code=code)


async def refused(name: str, content: bytes, folder: Path) -> Reason:
    trainer = await imported(name, content, folder, code=42)
    assert trainer.finished is not None
    return trainer.finished.failure.reason


async def test_an_imported_model_measures_as_it_did_where_it_was_trained(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    content = detector.content("checkpoint")
    trainer = await imported("yolo-detect", content, tmp_path)
    assert trainer.finished is not None
    assert [artifact.role for artifact in trainer.finished.success.artifacts] == ["checkpoint"]
    model = trainer.finished.success.model
    assert model.classes == list(cells.classes)
    assert model.input == ModelInput(height=64, width=64, resize="letterbox")
    assert (model.base, model.base_digest) == ("mine.pt", digest(content))
    details = MessageToDict(trainer.finished.success.details)
    assert "AGPL-3.0" in details["base"]["license"]
    assert "dataset" not in details
    (tmp_path / "after").mkdir()
    measured = await applied("yolo-detect", "EVALUATE", trainer, cells, tmp_path / "after")
    assert measured.finished is not None
    assert detector.finished is not None
    trained = detector.finished.success.metrics
    assert all(trained[name] == value for name, value in measured.finished.success.metrics.items())


async def test_published_weights_are_imported_for_another_image_size(test_data: Path, tmp_path: Path) -> None:
    [weights] = (test_data / "weights").glob("yolov8n*.pt")
    trainer = await imported("yolo-detect", weights.read_bytes(), tmp_path, imgsz=100)
    assert trainer.finished is not None
    model = trainer.finished.success.model
    assert model.input == ModelInput(height=128, width=128, resize="letterbox")
    assert (len(model.classes), model.classes[0]) == (80, "person")
    assert len(trainer.content("checkpoint")) < 1.1 * weights.stat().st_size


async def test_a_training_starts_from_an_imported_model(test_data: Path, cells: Version, tmp_path: Path) -> None:
    [weights] = (test_data / "weights").glob("yolov8n*.pt")
    (tmp_path / "import").mkdir()
    source = await imported("yolo-detect", weights.read_bytes(), tmp_path / "import", imgsz=64)
    (tmp_path / "train").mkdir()
    trainer = await applied("yolo-detect", "TRAIN", source, cells, tmp_path / "train", epochs=1, imgsz=64, batch=4)
    assert trainer.finished is not None
    model = trainer.finished.success.model
    assert model.base_digest == source.kept["checkpoint"].digest
    assert model.classes == list(cells.classes)


async def test_segmenters_and_classifiers_are_imported_by_their_recipes(
    segmenter: FakeTrainer, classifier: FakeTrainer, outlines: Version, tags: Version, tmp_path: Path
) -> None:
    for name, source, version in (("yolo-segment", segmenter, outlines), ("yolo-classify", classifier, tags)):
        folder = tmp_path / name
        folder.mkdir()
        trainer = await imported(name, source.content("checkpoint"), folder)
        assert trainer.finished is not None
        assert trainer.finished.success.model.classes == list(version.classes)


async def test_a_model_of_another_task_is_not_imported(classifier: FakeTrainer, tmp_path: Path) -> None:
    reason = await refused("yolo-detect", classifier.content("checkpoint"), tmp_path)
    assert (reason.code, reason.retriable) == ("CONFIG_ERROR", False)
    assert "a model to classify, not to detect" in reason.message


async def test_class_names_that_occur_twice_are_refused(detector: FakeTrainer, tmp_path: Path) -> None:
    import torch

    content = torch.load(io.BytesIO(detector.content("checkpoint")), weights_only=False)
    content["model"].names = {0: "cell", 1: "cell", 2: "WBC"}
    changed = io.BytesIO()
    torch.save(content, changed)
    reason = await refused("yolo-detect", changed.getvalue(), tmp_path)
    assert reason.code == "CONFIG_ERROR"
    assert "cannot be told apart: cell, cell, WBC" in reason.message


async def test_weights_that_are_no_numbers_are_refused(detector: FakeTrainer, tmp_path: Path) -> None:
    import torch

    content = torch.load(io.BytesIO(detector.content("checkpoint")), weights_only=False)
    content["model"].model[3].conv.weight.data[0, 0] = float("nan")
    changed = io.BytesIO()
    torch.save(content, changed)
    reason = await refused("yolo-detect", changed.getvalue(), tmp_path)
    assert (reason.code, reason.retriable) == ("DATA_ERROR", False)
    assert reason.message == "weights are no finite numbers: model.3.conv.weight"


async def test_weights_whose_answers_are_no_numbers_are_refused(detector: FakeTrainer, tmp_path: Path) -> None:
    import torch

    content = torch.load(io.BytesIO(detector.content("checkpoint")), weights_only=False)
    for layer in content["model"].modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.fill_(60_000)
    changed = io.BytesIO()
    torch.save(content, changed)
    reason = await refused("yolo-detect", changed.getvalue(), tmp_path)
    assert (reason.code, reason.retriable) == ("DATA_ERROR", False)
    assert reason.message == "the model's outputs are no finite numbers"


def zipped(content: object) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize("pickled", [pickle.dumps, zipped], ids=["bare", "zipped"])
async def test_a_file_that_wants_to_run_code_is_refused_and_runs_nothing(
    pickled: Callable[[object], bytes], tmp_path: Path
) -> None:
    trap = tmp_path / "trap"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return os.system, (f"touch {trap}",)

    reason = await refused("yolo-detect", pickled({"model": Bomb()}), tmp_path)
    assert (reason.code, reason.retriable) == ("UNSAFE_FILE", False)
    assert reason.message == "the file is a pickle that names code beyond YOLO's: posix.system; nothing of it was run"
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"\x80", b"PK\x03\x04" + bytes(100)], ids=["rubbish", "torn"])
async def test_a_file_that_is_something_else_is_refused_on_one_line_that_names_no_folder(
    content: bytes, tmp_path: Path
) -> None:
    reason = await refused("yolo-detect", content, tmp_path)
    assert (reason.code, reason.retriable) == ("CONFIG_ERROR", False)
    assert reason.message.startswith("the file is not a YOLO checkpoint: ")
    assert "\n" not in reason.message
    assert str(tmp_path) not in reason.message


async def test_an_imported_model_is_exported_without_a_dataset_version(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    wanted = job("yolo-detect", "OPTIMIZE")
    wanted.dataset_version = ""
    trainer = FakeTrainer(wanted, recipe("yolo-detect"), manifest=None, classes=())
    trainer.base = detector.kept["checkpoint"]
    await attempt(trainer, {trainer.base.logical_key: detector.content("checkpoint")}, tmp_path)
    assert trainer.finished is not None
    parity = trainer.finished.success.variants[0].parity
    assert parity.passed
    assert (parity.image_count, parity.limits.rpartition(", ")[2]) == (32, "on generated images")
    assert parity.max_geometry_error < 0.01
    lines = [event.log.message for event in trainer.of_kind("log")]
    assert any("There is no dataset version" in line for line in lines)
