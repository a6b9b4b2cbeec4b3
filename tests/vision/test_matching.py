"""Which detection takes which object: as pycocotools has it, to the last bit."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bloomery_vision import overlaps
from bloomery_vision.matching import AREAS, MOST, compare_boxes
from bloomery_vision.metrics import detection_metrics
from bloomery_vision.postprocess import Detections
from bloomery_vision.scenes import GroundTruth, sized
from tests.vision.test_records import scene

CLASSES = 3


def coco_precision(
    predictions: Sequence[Detections], truth: Sequence[GroundTruth], *, max_det: int = MOST
) -> np.ndarray:
    """Return the precision [thresholds, recalls, classes, areas], -1 where it is not defined."""
    annotations: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for image, (found, there) in enumerate(zip(predictions, truth, strict=True), 1):
        crowd = np.zeros(len(there.classes), bool) if there.crowd is None else there.crowd
        for box, category, is_crowd in zip(sized(there.boxes).tolist(), there.classes, crowd, strict=True):
            record = {"image_id": image, "bbox": box, "area": box[2] * box[3], "category_id": int(category)}
            annotations.append(record | {"id": len(annotations) + 1, "iscrowd": int(is_crowd)})
        for box, category, score in zip(sized(found.boxes).tolist(), found.classes, found.scores, strict=True):
            results.append({"image_id": image, "bbox": box, "category_id": int(category), "score": float(score)})
    dataset: Any = {
        "images": [{"id": image + 1, "width": 64, "height": 64} for image in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in range(CLASSES)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [max_det]
        evaluation.evaluate()
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][..., 0]
    return precision


def check(predictions: Sequence[Detections], truth: Sequence[GroundTruth], *, max_det: int = MOST) -> None:
    """Each class's figures are pycocotools'."""
    expected = coco_precision(predictions, truth, max_det=max_det)
    metrics = detection_metrics(compare_boxes(predictions, truth, max_det=max_det), num_classes=CLASSES)
    assert [one.index for one in metrics.per_class] == [n for n in range(CLASSES) if expected[0, 0, n, 0] > -1]
    for one in metrics.per_class:
        own = expected[:, :, one.index]
        assert one.precisions == pytest.approx(own[0, :, 0], abs=1e-9)
        assert (one.ap50, one.ap75, one.ap50_95) == pytest.approx(
            (own[0, :, 0].mean(), own[5, :, 0].mean(), own[..., 0].mean()), abs=1e-9
        )
        for place, size in enumerate(list(AREAS)[1:], 1):
            known = own[0, 0, place] > -1
            assert one.sizes[size] == (pytest.approx(own[..., place].mean(), abs=1e-9) if known else None)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 3.0, 8.0]), st.sampled_from([MOST, 4]))
@settings(max_examples=60, deadline=None)
def test_the_figures_are_those_of_pycocotools(seed: int, scale: float, max_det: int) -> None:
    """Crowds, ties of scores and of overlaps, objects of all sizes and at their limits."""
    generator = np.random.default_rng(seed)
    scenes = [scene(generator) for _ in range(6)]
    predictions = [Detections(found.boxes * np.float32(scale), found.scores, found.classes) for found, _ in scenes]
    truth = [GroundTruth(there.boxes * scale, there.classes, there.crowd) for _, there in scenes]
    if any(len(found) for found in predictions):
        check(predictions, truth, max_det=max_det)


def test_an_object_of_exactly_a_limit_is_in_both_ranges() -> None:
    box = np.array([[0.0, 0, 32, 32]])
    there = GroundTruth(box, np.zeros(1, np.int64))
    seen = Detections(box.astype(np.float32), np.array([0.5], np.float32), np.zeros(1, np.int64))
    [one] = detection_metrics(compare_boxes([seen], [there]), num_classes=CLASSES).per_class
    assert one.sizes == {"small": pytest.approx(1), "medium": pytest.approx(1), "large": None}
    check([seen], [there])


def test_pairs_are_the_same_however_many_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    predictions, truth = zip(*(scene(generator) for _ in range(12)), strict=True)
    whole = compare_boxes(predictions, truth)
    monkeypatch.setattr(overlaps, "_AT_ONCE", 7)
    parts = compare_boxes(predictions, truth)
    assert whole.pairs.found.tolist() == parts.pairs.found.tolist()
    assert whole.pairs.objects.tolist() == parts.pairs.objects.tolist()
    assert whole.hits.tolist() == parts.hits.tolist()


def test_images_without_anything_move_nothing() -> None:
    generator = np.random.default_rng(5)
    predictions, truth = map(list, zip(*(scene(generator) for _ in range(6)), strict=True))
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    empty = GroundTruth(np.zeros((0, 4)), np.zeros(0, np.int64))
    before = detection_metrics(compare_boxes(predictions, truth), num_classes=CLASSES)
    after = detection_metrics(
        compare_boxes([nothing, *predictions, nothing], [empty, *truth, empty]), num_classes=CLASSES
    )
    assert (before.map50_95, before.sizes, before.overall) == (after.map50_95, after.sizes, after.overall)
