"""Real trainings of the recipes of timm, small enough for seconds."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.training.v1 import ModelFacts, ModelInput
from bloomery.vision.v1 import TASK_TYPE_CLASSIFY
from tests.worker.board_reader import on_tensorboard
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


def test_a_training_publishes_a_measured_model(resnet: FakeTrainer, tags: Version) -> None:
    assert resnet.finished is not None
    success = resnet.finished.success
    files = {artifact.role for artifact in success.artifacts if not artifact.role.startswith("variant/")}
    assert files == {"checkpoint", "metrics", "evaluation", "figures", "report"}
    assert {"val/accuracy", "test/accuracy", "test/balanced_accuracy"} <= set(success.metrics)
    assert success.model == ModelFacts(
        task=TASK_TYPE_CLASSIFY,
        classes=tags.classes,
        input=ModelInput(height=64, width=64, resize="center-crop"),
        decoder="probabilities",
        license="Apache-2.0",
        base="scratch",
    )
    details = MessageToDict(success.details)
    assert details["network"] == "resnet18"
    assert {name.split("/")[1] for name in details["of_classes"]} == {"precision", "recall", "f1"}
    assert details["data"]["used"] == {"train": 8, "val": 4}
    [variant] = success.variants
    assert (variant.id, variant.failure) == ("onnx-fp32", "")
    assert variant.parity.passed


def test_tensorboard_shows_what_is_taken_for_what(resnet: FakeTrainer, tags: Version, tmp_path: Path) -> None:
    shown = on_tensorboard(resnet, tmp_path).Tags()
    assert "val/confusion" in shown["images"]
    assert {name.removeprefix("val/") for name in shown["tensors"]} & set(tags.classes)
