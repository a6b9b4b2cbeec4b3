"""Exports of trained models, and the proof that they give the same answers."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bloomery_vision.images import decode
from bloomery_vision.manifest import ManifestIndex, read_shard
from bloomery_vision.preprocess import letterbox
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import applied
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


async def exported(name: str, source: FakeTrainer, version: Version, folder: Path) -> FakeTrainer:
    return await applied(name, "OPTIMIZE", source, version, folder)


def written(trainer: FakeTrainer, folder: Path) -> Path:
    """The published directory."""
    for role in trainer.kept:
        path = folder / role.removeprefix("variant/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(trainer.content(role))
    return folder


async def test_an_export_is_a_triton_directory_with_proof(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = await exported("yolo-detect", detector, cells, tmp_path)
    assert trainer.finished is not None
    [variant] = trainer.finished.success.variants
    assert (variant.id, variant.role_prefix, variant.failure) == ("onnx-fp32", "variant/", "")
    assert variant.parity.passed
    assert variant.parity.image_count == 8
    assert variant.parity.max_geometry_error < 0.01
    assert variant.parity.max_score_error < 1e-4
    assert variant.latency.p95_ms >= variant.latency.p50_ms > 0
    folder = written(trainer, tmp_path / "model")
    assert (folder / "labels.txt").read_text().split() == list(cells.classes)
    config = (folder / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    assert 'name: "output0" data_type: TYPE_FP32 dims: [ 7, 84 ]' in config
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["parity"]["passed"], manifest["size"]) == ("onnx", True, [64, 64])
    listed = {file["path"] for file in manifest["files"]}
    assert listed == {"config.pbtxt", "labels.txt", "1/model.onnx"}
    shapes = [run(folder, images(cells, count))[0].shape for count in (1, 3, 8)]
    assert shapes == [(count, 7, 84) for count in (1, 3, 8)]


async def test_a_segmenter_is_exported_with_its_prototypes(
    segmenter: FakeTrainer, outlines: Version, tmp_path: Path
) -> None:
    trainer = await exported("yolo-segment", segmenter, outlines, tmp_path)
    folder = written(trainer, tmp_path / "model")
    assert [output.shape for output in run(folder, images(outlines, 3))] == [(3, 39, 84), (3, 32, 16, 16)]
    assert 'name: "output1" data_type: TYPE_FP32 dims: [ 32, 16, 16 ]' in (folder / "config.pbtxt").read_text()


async def test_a_classifier_is_exported_with_probabilities(
    classifier: FakeTrainer, tags: Version, tmp_path: Path
) -> None:
    trainer = await exported("yolo-classify", classifier, tags, tmp_path)
    assert trainer.finished is not None
    assert trainer.finished.success.variants[0].parity.passed
    folder = written(trainer, tmp_path / "model")
    (probabilities,) = run(folder, images(tags, 3))
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (folder / "labels.txt").read_text() == "few\nmany\n"


def images(version: Version, count: int) -> np.ndarray:
    index = ManifestIndex.from_json(version.blobs[version.index.logical_key])
    rows = list(read_shard(version.blobs[index.shards[0].logical_key], index.classes))[:count]
    return np.stack([letterbox(decode(version.blobs[row.logical_key]), (64, 64))[0] for row in rows])


def run(folder: Path, batch: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(folder / "1/model.onnx"), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {"images": batch})
    return outputs
