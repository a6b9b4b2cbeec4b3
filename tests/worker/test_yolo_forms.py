"""Evaluations of forms of trained models, by their files alone, and how fast models and forms are."""

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import applied
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


@pytest.fixture
def trained(request: pytest.FixtureRequest) -> tuple[str, FakeTrainer, Version]:
    """A task with its model and data."""
    task, model, data = request.param
    return task, request.getfixturevalue(model), request.getfixturevalue(data)


@pytest.mark.parametrize(
    "trained",
    [("detect", "detector", "cells"), ("segment", "segmenter", "outlines"), ("classify", "classifier", "tags")],
    indirect=True,
    ids=["detect", "segment", "classify"],
)
async def test_a_form_is_measured_as_the_model_is(trained: tuple[str, FakeTrainer, Version], tmp_path: Path) -> None:
    task, source, version = trained
    trainer = await applied(f"yolo-{task}", "EVALUATE", source, version, tmp_path, variant="onnx-fp32")
    assert trainer.finished is not None
    assert source.finished is not None
    success = trainer.finished.success
    own = {name: value for name, value in source.finished.success.metrics.items() if name.startswith("test/")}
    assert dict(success.metrics) == pytest.approx(own, abs=1e-3)
    details = MessageToDict(success.details)
    assert (details["variant"], details["classes"]) == ("onnx-fp32", list(version.classes))
    assert "latency" not in details
    assert "onnxruntime" in success.versions
    assert {artifact.role for artifact in success.artifacts} >= {"evaluation", "records"}


@pytest.mark.parametrize("variant", ["", "onnx-fp32"])
async def test_a_benchmark_tells_speed_memory_and_size(
    variant: str, detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = await applied("yolo-detect", "EVALUATE", detector, cells, tmp_path, variant=variant, benchmark=True)
    assert trainer.finished is not None
    details = MessageToDict(trainer.finished.success.details)
    latency = details["latency"]
    assert 0 < latency["p50_ms"] <= latency["p95_ms"]
    assert latency["images_per_second"] > 0
    assert latency["peak_memory_bytes"] > 20 << 20
    assert latency["threads"] >= 1
    [file] = [detector.kept["variant/1/model.onnx" if variant else "checkpoint"]]
    assert details["size_bytes"] == file.size_bytes
    assert "measuring" in trainer.phases


async def test_images_are_predicted_on_by_a_form(detector: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    seen = []
    for variant in ("", "onnx-fp32"):
        folder = tmp_path / (variant or "own")
        folder.mkdir()
        trainer = await applied("yolo-detect", "PREDICT", detector, cells, folder, variant=variant, threshold=0)
        lines = [json.loads(line) for line in trainer.content("predictions").splitlines()]
        seen.append({line["file_name"]: len(line["shapes"]) for line in lines})
    own, form = seen
    assert own.keys() == form.keys()
    # What overlaps by just as much as is allowed may be there or not.
    assert all(abs(own[name] - form[name]) <= 2 for name in own)
    assert min(own.values()) > 5


async def test_a_form_that_no_worker_runs_is_refused(detector: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    trainer = await applied("yolo-detect", "EVALUATE", detector, cells, tmp_path, code=42, variant="onnx-fp64")
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert (reason.code, "no worker of this version runs onnx-fp64" in reason.message) == ("CONFIG_ERROR", True)


async def test_files_that_say_nothing_of_the_model_are_refused(
    detector: FakeTrainer, cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {role: file for role, file in detector.kept.items() if role != "variant/manifest.json"}
    monkeypatch.setattr(detector, "kept", kept)
    trainer = await applied("yolo-detect", "EVALUATE", detector, cells, tmp_path, code=42, variant="onnx-fp32")
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert reason.code == "DATA_ERROR"
    assert "do not say what it is" in reason.message
