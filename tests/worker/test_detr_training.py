"""Real trainings of `detr-detect`, small enough for seconds."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.training.v1 import ModelFacts, ModelInput
from bloomery.vision.v1 import TASK_TYPE_DETECT
from tests.worker.board_reader import on_tensorboard
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


def test_a_training_publishes_a_measured_model(detr: FakeTrainer, cells: Version) -> None:
    assert detr.finished is not None
    success = detr.finished.success
    files = {artifact.role for artifact in success.artifacts if not artifact.role.startswith("variant/")}
    assert files == {"checkpoint", "metrics", "evaluation", "figures", "report"}
    assert {"val/map50", "test/map50", "test/map50_95"} <= set(success.metrics)
    assert success.model == ModelFacts(
        task=TASK_TYPE_DETECT,
        classes=cells.classes,
        input=ModelInput(height=64, width=64, resize="letterbox"),
        decoder="yolo-end-to-end",
        license="Apache-2.0",
        base="scratch",
    )
    details = MessageToDict(success.details)
    assert details["network"] == "rt_detr"
    [variant] = success.variants
    assert (variant.id, variant.failure) == ("onnx-fp32", "")
    assert variant.parity.passed


def test_tensorboard_shows_what_is_taken_for_what(detr: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    shown = on_tensorboard(detr, tmp_path).Tags()
    assert "val/confusion" in shown["images"]
    assert {name.removeprefix("val/") for name in shown["tensors"]} & set(cells.classes)
