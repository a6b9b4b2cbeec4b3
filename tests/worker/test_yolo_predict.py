"""Predictions of trained models on the images of dataset versions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from bloomery_vision.geometry import Mask
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import applied
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


def predicted(trainer: FakeTrainer) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines and the details of a job that succeeded."""
    assert trainer.finished is not None
    success = trainer.finished.success
    [artifact] = success.artifacts
    assert (artifact.role, artifact.file_name) == ("predictions", "predictions.jsonl")
    lines = trainer.content("predictions").decode().splitlines()
    return [json.loads(line) for line in lines], MessageToDict(success.details)


async def test_each_image_has_a_line_with_boxes_in_its_own_pixels(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = await applied("yolo-detect", "PREDICT", detector, cells, tmp_path, split="all", threshold=0.0)
    lines, details = predicted(trainer)
    assert [line["file_name"] for line in lines] == sorted(line["file_name"] for line in lines)
    assert [line["split"] for line in lines].count("test") == 4
    assert len(lines) == details["images"] == 16
    stored = {f"sha256:{key.rpartition('/')[2]}" for key in cells.blobs}
    for line in lines:
        assert line["digest"] in stored
        assert (line["width"], line["height"]) == (640, 480)
        scores = [shape["score"] for shape in line["shapes"]]
        assert scores == sorted(scores, reverse=True)
        assert 0 < len(scores) <= 300
        for shape in line["shapes"]:
            assert shape.keys() == {"label", "score", "box"}
            assert shape["label"] in cells.classes
            box = shape["box"]
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 640.002
            assert 0 <= box["y"] <= box["y"] + box["height"] <= 480.002
    assert details["shapes"] == sum(len(line["shapes"]) for line in lines)
    assert details["model"]["version"] == "projects/cells/models/d/versions/1"
    assert "predicting" in trainer.phases


async def test_what_is_not_confident_enough_is_left_out(detector: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    trainer = await applied("yolo-detect", "PREDICT", detector, cells, tmp_path, threshold=1.0)
    lines, details = predicted(trainer)
    assert [line["shapes"] for line in lines] == [[]] * 4
    assert (details["split"], details["shapes"]) == ("test", 0)


async def test_a_segmenter_gives_masks_of_the_images_size(
    segmenter: FakeTrainer, outlines: Version, tmp_path: Path
) -> None:
    trainer = await applied("yolo-segment", "PREDICT", segmenter, outlines, tmp_path, threshold=0.0)
    lines, _ = predicted(trainer)
    masks = [shape["mask"] for line in lines for shape in line["shapes"]]
    assert masks
    array = Mask(masks[0]["width"], masks[0]["height"], masks[0]["counts"].encode()).to_array()
    assert array.shape == (480, 640)
    assert array.any()


async def test_a_segmenter_gives_outlines_where_they_are_wanted(
    segmenter: FakeTrainer, outlines: Version, tmp_path: Path
) -> None:
    async def shapes(masks: str) -> list[dict[str, Any]]:
        (tmp_path / masks).mkdir()
        trainer = await applied(
            "yolo-segment", "PREDICT", segmenter, outlines, tmp_path / masks, threshold=0.0, max_shapes=2, masks=masks
        )
        lines, _ = predicted(trainer)
        return [shape for line in lines for shape in line["shapes"]]

    areas = [Mask(640, 480, shape["mask"]["counts"].encode()).area for shape in await shapes("rle")]
    outlined = await shapes("polygons")
    assert {tuple(shape) for shape in outlined} == {("label", "score", "polygon", "bounds")}
    rings = [[_points(ring["coordinates"]) for ring in shape["polygon"]["rings"]] for shape in outlined]
    # A mask without a pixel has no outline.
    assert [sum(map(_area, one)) for one in rings] == [area for area in areas if area]


def _points(coordinates: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(coordinates).reshape(-1, 2)


def _area(ring: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    x, y = ring.T
    return float(abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2)


async def test_a_classifier_gives_the_classes_of_the_whole_image(
    classifier: FakeTrainer, tags: Version, tmp_path: Path
) -> None:
    trainer = await applied("yolo-classify", "PREDICT", classifier, tags, tmp_path, threshold=0.0)
    lines, _ = predicted(trainer)
    for line in lines:
        assert {shape["label"] for shape in line["shapes"]} == {"few", "many"}
        assert all(shape["tag"] == {} for shape in line["shapes"])
        np.testing.assert_allclose(sum(shape["score"] for shape in line["shapes"]), 1, atol=1e-4)


async def test_a_variant_is_predicted_with_by_a_recipe_that_needs_nothing_of_the_training_library(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = await applied("onnx-detect", "PREDICT", detector, cells, tmp_path, variant="onnx-fp32", threshold=0.0)
    lines, details = predicted(trainer)
    assert all(line["shapes"] for line in lines)
    assert details["variant"] == "onnx-fp32"
    assert trainer.finished is not None
    assert "ultralytics" not in trainer.finished.success.versions
