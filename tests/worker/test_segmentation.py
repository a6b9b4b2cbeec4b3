"""Our own evaluation of masks, with a model that knows the truth and draws it well or badly."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask, Polygon
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.preprocess import LetterboxTransform, letterbox
from bloomery_vision.rasterize import rasterize
from bloomery_worker import samples
from bloomery_worker.dataset import Dataset
from bloomery_worker.predictor import Images, Outputs
from bloomery_worker.samples import Samples
from bloomery_worker.segmentation import SegmentationEvaluator
from tests.worker.sample_data import Version, cached

SIZE, GRID, MASKS, ANCHORS = (320, 320), (320, 320), 40, 40

Draw = Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.bool_]]


@pytest.fixture
def dataset(outlines: Version, tmp_path: Path) -> Dataset:
    cache = cached(outlines, tmp_path)
    return Dataset.open(cache.path(outlines.index.digest), cache)


class Oracle:
    """Puts out a box and a mask of its own for each object of its classes; `draw` makes the mask of outline and box."""

    def __init__(self, dataset: Dataset, classes: tuple[str, ...], draw: Draw) -> None:
        self._classes, self._draw = classes, draw
        self._answers = (self._answer(dataset, row) for row in dataset.rows("val"))

    def __call__(self, images: Images) -> Outputs:
        answers = [next(self._answers) for _ in images]
        return tuple(np.stack(part) for part in zip(*answers, strict=True))

    def _answer(self, dataset: Dataset, row: ManifestRow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        _, transform = letterbox(dataset.image(row), SIZE)
        raw = np.zeros((4 + len(self._classes) + MASKS, ANCHORS), dtype=np.float32)
        prototypes = np.full((MASKS, *GRID), -1, dtype=np.float32)
        for number, shape in enumerate(shape for shape in row.shapes if shape.label in self._classes):
            assert isinstance(shape.geometry, Polygon)
            box = transform.to_letterboxed(
                np.array([[shape.geometry.bounds.x, shape.geometry.bounds.y, shape.geometry.bounds.x2,
                           shape.geometry.bounds.y2]])
            )[0]  # fmt: skip
            raw[:4, number] = [*(box[:2] + box[2:]) / 2, *(box[2:] - box[:2])]
            raw[4 + self._classes.index(shape.label), number] = 0.9
            raw[4 + len(self._classes) + number, number] = 1
            prototypes[number][framed(self._drawn(shape.geometry, transform), transform)] = 1
        return raw, prototypes

    def _drawn(self, outline: Polygon, transform: LetterboxTransform) -> NDArray[np.bool_]:
        size = transform.inner_width, transform.inner_height
        scale = size[0] / transform.width, size[1] / transform.height
        area, box = (rasterize(shape, size, scale=scale).to_array() for shape in (outline, outline.bounds))
        return self._draw(area, box)


def test_samples_are_masks_or_boxes_in_pixels_of_the_image(dataset: Dataset, outlines: Version) -> None:
    oracle = Oracle(dataset, outlines.classes, lambda outline, box: outline)
    seen = Samples(dataset, outlines.classes, "yolo", SIZE, count=2)
    outputs = oracle(seen.images)
    masks = seen.note(outputs, epoch=3)
    without_masks = (outputs[0][:, : 4 + len(outlines.classes)],)
    boxes = Samples(dataset, outlines.classes, "yolo", SIZE, count=2).note(without_masks, epoch=3)
    rows = list(dataset.rows("val"))[:2]
    assert [one.asset for one in masks.samples] == [row.asset for row in rows]
    for row, with_masks, with_boxes in zip(rows, masks.samples, boxes.samples, strict=True):
        assert len(with_masks.shapes) == len(with_boxes.shapes) == len(row.shapes)
        found = {(shape.label, *np.round(shape.box or (), -1)) for shape in with_boxes.shapes}
        there = [(shape.label, shape.geometry.bounds) for shape in row.shapes]
        assert found == {(label, *np.round((box.x, box.y, box.width, box.height), -1)) for label, box in there if box}
        for shape in with_masks.shapes:
            assert 0 < Mask(row.width, row.height, shape.mask.encode()).area < row.width * row.height


def test_samples_leave_out_the_weakest_shapes_where_masks_are_large(
    dataset: Dataset, outlines: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Oracle(dataset, outlines.classes, lambda outline, box: outline)(np.zeros((2, *SIZE, 3), dtype=np.uint8))
    seen = Samples(dataset, outlines.classes, "yolo", SIZE, count=2)
    whole = seen.note(outputs, epoch=1)
    largest = max(sum(len(shape.mask) for shape in one.shapes) for one in whole.samples)
    monkeypatch.setattr(samples, "MASK_BYTES", 2 * largest - 2)
    less = seen.note(outputs, epoch=1)
    counts = [(len(one.shapes), len(full.shapes)) for one, full in zip(less.samples, whole.samples, strict=True)]
    assert any(kept < full for kept, full in counts)
    for one, full in zip(less.samples, whole.samples, strict=True):
        assert one.shapes == full.shapes[: len(one.shapes)]
        assert sum(len(shape.mask) for shape in one.shapes) < largest


def framed(area: NDArray[np.bool_], transform: LetterboxTransform) -> NDArray[np.bool_]:
    frame = np.zeros(SIZE, dtype=bool)
    frame[transform.top : transform.top + area.shape[0], transform.left : transform.left + area.shape[1]] = area
    return frame


@pytest.fixture
def evaluated(dataset: Dataset, outlines: Version) -> Callable[[Draw], dict[str, float]]:
    def evaluate(draw: Draw) -> dict[str, float]:
        oracle = Oracle(dataset, outlines.classes, draw)
        evaluation = SegmentationEvaluator(dataset, SIZE, outlines.classes).evaluate(
            oracle, dataset.rows("val"), name="val"
        )
        assert all({"mask_ap50", "ap50"} <= set(one) for one in evaluation.per_class)
        return evaluation.values()

    return evaluate


def test_a_class_that_the_model_does_not_know_moves_no_mask(dataset: Dataset, outlines: Version) -> None:
    known = outlines.classes[1:]
    oracle = Oracle(dataset, known, lambda outline, box: outline)
    measured = SegmentationEvaluator(dataset, SIZE, known, missing=outlines.classes[:1]).evaluate(
        oracle, dataset.rows("val"), name="val"
    )
    masks = {one["class"]: one["mask_ap50"] for one in measured.per_class}
    assert masks == pytest.approx({name: float(name in known) for name in outlines.classes}, abs=0.03)


def test_perfect_outlines_score_one(evaluated: Callable[[Draw], dict[str, float]]) -> None:
    values = evaluated(lambda outline, box: outline)
    assert values["val/map50_95"] > 0.97
    assert values["val/mask_map50"] > 0.97
    assert values["val/mask_map50_95"] > 0.9


def test_boxes_instead_of_outlines_cost_the_strict_thresholds(evaluated: Callable[[Draw], dict[str, float]]) -> None:
    values = evaluated(lambda outline, box: box)
    assert values["val/map50_95"] > 0.97
    assert values["val/mask_map50"] > 0.97
    # The octagons fill 82 % of their boxes.
    assert 0.5 < values["val/mask_map50_95"] < 0.8


def test_empty_masks_in_perfect_boxes_score_nought(evaluated: Callable[[Draw], dict[str, float]]) -> None:
    values = evaluated(lambda outline, box: np.zeros_like(outline))
    assert values["val/map50"] > 0.97
    assert values["val/mask_map50"] == 0
