"""Masks measured against each other: by hand, and against COCO's own evaluation."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bloomery_vision.geometry import Box, Mask, Polygon
from bloomery_vision.matching import compare_masks
from bloomery_vision.metrics import detection_metrics
from bloomery_vision.postprocess import Detections
from bloomery_vision.rasterize import rasterize
from bloomery_vision.scenes import GroundTruth
from tests.vision.measuring import masks_measured, measured

SIDE = 64


def area(x1: int, y1: int, x2: int, y2: int) -> Mask:
    array = np.zeros((SIDE, SIDE), dtype=bool)
    array[y1:y2, x1:x2] = True
    return Mask.from_array(array)


def around(masks: Sequence[Mask]) -> NDArray[np.float64]:
    boxes = [(mask.bounds.x, mask.bounds.y, mask.bounds.x2, mask.bounds.y2) for mask in masks]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def found(masks: Sequence[Mask], scores: Sequence[float], classes: Sequence[int]) -> Detections:
    boxes = around(masks).astype(np.float32)
    return Detections(boxes, np.array(scores, dtype=np.float32), np.array(classes, dtype=np.int64))


def truth(masks: Sequence[Mask], classes: Sequence[int], crowd: Sequence[bool] | None = None) -> GroundTruth:
    flags = None if crowd is None else np.array(crowd, dtype=bool)
    return GroundTruth(around(masks), np.array(classes, dtype=np.int64), flags)


def test_masks_count_and_boxes_do_not() -> None:
    corners = np.zeros((SIDE, SIDE), dtype=bool)
    corners[0, 0] = corners[9, 9] = True
    full, thin = area(0, 0, 10, 10), Mask.from_array(corners)
    seen, objects = found([thin], [0.9], [0]), truth([full], [0])
    assert measured([seen], [objects], num_classes=1).map50 == pytest.approx(1)
    assert masks_measured([seen], [[thin]], [objects], [[full]], num_classes=1).map50 == 0


def test_the_mean_over_thresholds_counts_the_overlap_of_masks() -> None:
    # The overlap is 8/10: a hit at the seven thresholds from 0.50 to 0.80.
    part, whole = area(0, 0, 8, 10), area(0, 0, 10, 10)
    metrics = masks_measured([found([part], [0.9], [0])], [[part]], [truth([whole], [0])], [[whole]], num_classes=1)
    assert metrics.map50 == pytest.approx(1)
    assert metrics.map50_95 == pytest.approx(0.7)


def test_sizes_are_those_in_the_pixels_of_the_image() -> None:
    """Of which four lie side by side in one of the mask's."""
    mask = area(0, 0, 10, 10)
    seen, objects = found([mask], [0.9], [0]), truth([mask], [0])
    shrunk = compare_masks([seen], [[mask]], [objects], [[mask]], scales=[0.25])
    assert detection_metrics(shrunk, num_classes=1).sizes == {"small": None, "medium": pytest.approx(1), "large": None}
    assert masks_measured([seen], [[mask]], [objects], [[mask]], num_classes=1).sizes["small"] == pytest.approx(1)


def test_a_mask_in_a_crowd_counts_neither_way() -> None:
    hit, inside, crowd = area(0, 0, 10, 10), area(40, 40, 45, 45), area(30, 30, 60, 60)
    seen = found([hit, inside], [0.5, 0.9], [0, 0])
    objects = truth([hit, crowd], [0, 0], [False, True])
    assert masks_measured([seen], [[hit, inside]], [objects], [[hit, crowd]], num_classes=1).map50 == pytest.approx(1)


def test_every_detection_needs_a_mask() -> None:
    mask = area(0, 0, 9, 9)
    with pytest.raises(ValueError, match="a mask for each"):
        masks_measured([found([mask], [0.9], [0])], [[]], [truth([mask], [0])], [[mask]], num_classes=1)


def test_nothing_found_scores_nought() -> None:
    mask = area(0, 0, 9, 9)
    metrics = masks_measured([found([], [], [])], [[]], [truth([mask], [0])], [[mask]], num_classes=1)
    assert (metrics.map50, metrics.per_class[0].instances) == (0, 1)


def random_mask(random: np.random.Generator) -> Mask:
    """A slanted blob somewhere."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x, y = random.uniform(8, SIDE - 8, 2)
    wide, high = random.uniform(3, 14, 2)
    slant = random.uniform(-0.7, 0.7)
    return Mask.from_array(((columns - x + slant * (rows - y)) / wide) ** 2 + ((rows - y) / high) ** 2 < 1)


def moved(mask: Mask, random: np.random.Generator) -> Mask:
    return Mask.from_array(np.roll(mask.to_array(), random.integers(-4, 5, 2), axis=(0, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_coco_s_own_evaluation(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes, images = 3, 12
    true_masks = [[random_mask(random) for _ in range(random.integers(0, 7))] for _ in range(images)]
    objects = [
        truth(masks, random.integers(0, classes, len(masks)).tolist(), (random.random(len(masks)) < 0.15).tolist())
        for masks in true_masks
    ]
    masks, predictions = [], []
    for of_image, there in zip(true_masks, objects, strict=True):
        good = [moved(mask, random) for mask in of_image if random.random() < 0.8]
        bad = [random_mask(random) for _ in range(random.integers(0, 4))]
        kinds = [int(there.classes[0])] * len(good) if good else []
        numbers = [*kinds, *random.integers(0, classes, len(bad)).tolist()]
        masks.append([*good, *bad])
        predictions.append(found(masks[-1], random.random(len(masks[-1])).tolist(), numbers))
    # Masks of large images are made smaller: of each image its own pixels count for what is small.
    scales = random.choice([1.0, 0.25, 0.1], images).tolist()
    comparison = compare_masks(predictions, masks, objects, true_masks, scales=scales, max_det=100)
    metrics = detection_metrics(comparison, num_classes=classes)
    stats = coco(predictions, masks, objects, true_masks, classes, scales)
    assert 0 < stats[1] < 1
    assert metrics.map50 == pytest.approx(stats[1], abs=1e-9)
    assert metrics.map50_95 == pytest.approx(stats[0], abs=1e-9)
    assert metrics.map75 == pytest.approx(stats[2], abs=1e-9)
    assert sum(one > 0 for one in stats[3:6]) > 1
    for size, expected in zip(("small", "medium", "large"), stats[3:6], strict=True):
        assert metrics.sizes[size] == (None if expected < 0 else pytest.approx(expected, abs=1e-9))


def coco(
    predictions: Sequence[Detections],
    masks: Sequence[Sequence[Mask]],
    objects: Sequence[GroundTruth],
    true_masks: Sequence[Sequence[Mask]],
    classes: int,
    scales: Sequence[float],
) -> list[float]:
    """All that pycocotools says: average precision at all thresholds, at 0.5, at 0.75, of small, medium, large ones."""
    annotations: list[dict[str, object]] = []
    for image, (of_image, there) in enumerate(zip(true_masks, objects, strict=True), 1):
        assert there.crowd is not None
        for mask, category, crowd in zip(of_image, there.classes, there.crowd, strict=True):
            annotations.append(record(image, mask, category) | {"id": len(annotations) + 1, "iscrowd": int(crowd)})
    results = [
        record(image, mask, category) | {"score": float(score)}
        for image, (of_image, seen) in enumerate(zip(masks, predictions, strict=True), 1)
        for mask, category, score in zip(of_image, seen.classes, seen.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known: Any = COCO()
        known.dataset = {
            "images": [{"id": index + 1, "width": SIDE, "height": SIDE} for index in range(len(masks))],
            "annotations": annotations,
            "categories": [{"id": index, "name": str(index)} for index in range(classes)],
        }
        known.createIndex()
        seen = known.loadRes(results)
        for one in (*known.anns.values(), *seen.anns.values()):
            one["area"] /= scales[one["image_id"] - 1] ** 2
        evaluation = COCOeval(known, seen, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(one) for one in evaluation.stats]


def record(image: int, mask: Mask, category: int) -> dict[str, object]:
    runs = {"size": [mask.height, mask.width], "counts": mask.counts}
    return {"image_id": image, "category_id": int(category), "segmentation": runs, "area": mask.area}


def test_shapes_become_masks_on_the_scaled_image() -> None:
    half = (0.5, 0.25)
    box = rasterize(Box(8, 8, 16, 16), (32, 16), scale=half).to_array()
    assert box.shape == (16, 32)
    assert box[2:6, 4:12].all()
    assert box.sum() == 32
    outline = Polygon(((8, 8), (24, 8), (24, 24), (8, 24)), parts=(((40, 40), (60, 40), (60, 60), (40, 60)),))
    parts = rasterize(outline, (32, 16), scale=half).to_array()
    assert parts[2:6, 4:12].all()
    assert parts[10:15, 20:30].all()
    assert parts.sum() == 32 + 50
    mask = rasterize(area(8, 8, 24, 24), (32, 16), scale=half).to_array()
    assert (mask == box).all()
