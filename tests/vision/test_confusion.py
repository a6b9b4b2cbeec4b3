"""What is taken for what, and at which scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery_vision.calibration import calibration_error, detection_reliability, reliability
from bloomery_vision.confusion import detection_confusion, worst_images
from bloomery_vision.matching import Comparison, compare_boxes, lane
from bloomery_vision.metrics import detection_metrics
from bloomery_vision.scenes import GroundTruth
from tests.vision.test_metrics import found, truth
from tests.vision.test_records import scene

CLASSES = 3
SEEDS = st.integers(0, 2**32 - 1)


def compared(seed: int, images: int = 5) -> Comparison:
    generator = np.random.default_rng(seed)
    predictions, objects = zip(*(scene(generator) for _ in range(images)), strict=True)
    return compare_boxes(predictions, objects)


@given(SEEDS, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_every_object_and_every_detection_is_counted_once(seed: int, confidence: float) -> None:
    comparison = compared(seed)
    counts = detection_confusion(comparison, confidence=confidence, num_classes=CLASSES).counts
    objects = comparison.objects.classes[~comparison.objects.crowd]
    assert counts[:CLASSES].sum(axis=1).tolist() == np.bincount(objects, minlength=CLASSES).tolist()
    shown = (comparison.found.scores >= confidence) & ~lane(comparison.ignored, 0)
    seen = np.bincount(comparison.found.classes[shown], minlength=CLASSES)
    known = np.unique(objects)
    assert counts[:, known].sum(axis=0).tolist() == seen[known].tolist()
    assert not counts[CLASSES, np.setdiff1d(np.arange(CLASSES), known)].any()
    assert counts[CLASSES, CLASSES] == 0


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_the_diagonal_is_what_precision_and_recall_count(seed: int) -> None:
    comparison = compared(seed)
    metrics = detection_metrics(comparison, num_classes=CLASSES)
    if not metrics.per_class or not metrics.overall.f1:
        return
    counts = detection_confusion(comparison, confidence=metrics.overall.confidence, num_classes=CLASSES).counts
    known = [one.index for one in metrics.per_class]
    right = int(np.diag(counts)[known].sum())
    assert right / counts[:CLASSES].sum() == pytest.approx(metrics.overall.recall)
    assert right / counts[:, known].sum() == pytest.approx(metrics.overall.precision)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_no_other_threshold_has_a_higher_f1(seed: int) -> None:
    comparison = compared(seed)
    hits, counted = lane(comparison.hits, 0), ~lane(comparison.ignored, 0)
    for one in detection_metrics(comparison, num_classes=CLASSES).per_class:
        own = comparison.found.classes == one.index
        scores = comparison.found.scores
        f1 = {
            score: 2
            * (hits & own & (scores >= score)).sum()
            / ((counted & own & (scores >= score)).sum() + one.instances)
            for score in np.unique(scores[own])
        }
        assert one.best.f1 == pytest.approx(max(f1.values(), default=0.0))
        if one.best.f1:
            assert one.best.confidence == max(score for score, value in f1.items() if value == max(f1.values()))


def test_what_is_taken_for_another_class_is_told_with_its_places() -> None:
    # Boxes of four kinds: right, of another class, nowhere, and a second one on the first object; one object is missed.
    predictions = found(
        [0, 0, 10, 10, 0.9, 0],
        [20, 0, 30, 10, 0.8, 1],
        [60, 60, 70, 70, 0.7, 1],
        [1, 0, 11, 10, 0.6, 0],
        [40, 0, 50, 10, 0.1, 0],
    )
    objects = truth([0, 0, 10, 10, 0], [20, 0, 30, 10, 0], [40, 0, 50, 10, 1])
    confusion = detection_confusion(compare_boxes([predictions], [objects]), confidence=0.5, num_classes=2)
    assert confusion.counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]
    told = confusion.mistakes
    columns = told.truth.tolist(), told.predicted.tolist(), told.objects.tolist(), told.scores.tolist()
    assert list(zip(*columns, strict=True)) == [
        (0, 1, 1, pytest.approx(0.8)),
        (2, 1, -1, pytest.approx(0.7)),
        (2, 0, -1, pytest.approx(0.6)),
        (1, 2, 2, 0.0),
    ]


def test_across_classes_the_surest_detection_chooses_first_and_takes_what_it_overlaps_most() -> None:
    predictions = found([1, 0, 11, 10, 0.6, 1], [0, 0, 10, 10, 0.9, 1])
    objects = truth([0, 0, 10, 10, 0], [2, 0, 12, 10, 0])
    confusion = detection_confusion(compare_boxes([predictions], [objects]), confidence=0.1, num_classes=2)
    mistakes = confusion.mistakes
    assert dict(zip(mistakes.scores.round(1).tolist(), mistakes.objects.tolist(), strict=True)) == {0.9: 0, 0.6: 1}


def test_what_lies_in_a_crowd_of_its_class_is_no_mistake() -> None:
    predictions = found([50, 50, 55, 55, 0.9, 0], [60, 60, 65, 65, 0.9, 1])
    objects = truth([40, 40, 90, 90, 0], [0, 0, 10, 10, 1], crowd=[True, False])
    counts = detection_confusion(compare_boxes([predictions], [objects]), confidence=0.1, num_classes=2).counts
    assert counts.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_what_is_seen_of_a_class_without_objects_counts_only_for_an_object_that_it_is_taken_for() -> None:
    predictions = found([0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.9, 1])
    comparison = compare_boxes([predictions], [truth([0, 0, 10, 10, 0])])
    assert detection_confusion(comparison, confidence=0.5, num_classes=2).counts.tolist() == [
        [0, 1, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]
    assert not sum(one.count for one in detection_reliability(comparison))


def test_the_worst_image_has_the_most_mistakes_then_the_surest() -> None:
    objects = [truth([70, 70, 79, 79, 0]), *[truth()] * 3]
    predictions = [
        found([70, 70, 79, 79, 0.9, 0]),
        found([0, 0, 9, 9, 0.5, 0]),
        found([0, 0, 9, 9, 0.8, 0]),
        found([0, 0, 9, 9, 0.3, 0], [20, 0, 29, 9, 0.3, 0]),
    ]
    comparison = compare_boxes(predictions, objects)
    mistakes = detection_confusion(comparison, confidence=0.1, num_classes=1).mistakes
    assert worst_images(mistakes, 10).tolist() == [3, 2, 1]
    assert worst_images(mistakes, 1).tolist() == [3]


@given(SEEDS, st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_every_prediction_is_in_the_bin_of_its_score(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 16, count) / 15 if seed % 2 else generator.random(count)
    right = generator.random(count) < scores
    bins = reliability(scores, right)
    assert sum(one.count for one in bins) == count
    for one in bins:
        inside = scores[(scores > one.lower) & (scores <= one.upper) | (one.lower == 0) & (scores == 0)]
        assert len(inside) == one.count
        assert not one.count or one.confidence == pytest.approx(inside.mean())
    assert sum(one.count * one.share for one in bins) == pytest.approx(right.sum())


def test_the_calibration_error_of_a_case_by_hand() -> None:
    # Two of 0.9 of which one is right, two of 0.3 of which none is: (2 * 0.4 + 2 * 0.3) / 4.
    bins = reliability(np.array([0.9, 0.9, 0.3, 0.3]), np.array([True, False, False, False]))
    assert calibration_error(bins) == pytest.approx(0.35)
    assert calibration_error(reliability(np.zeros(0), np.zeros(0, np.bool_))) is None


def test_detections_below_what_predictions_show_do_not_count_for_calibration() -> None:
    predictions = found([0, 0, 10, 10, 0.75, 0], [50, 50, 60, 60, 0.2, 0])
    bins = detection_reliability(compare_boxes([predictions], [truth([0, 0, 10, 10, 0])]))
    assert [(one.count, one.share) for one in bins if one.count] == [(1, 1.0)]


def test_without_anything_there_are_no_mistakes() -> None:
    nothing = GroundTruth(np.zeros((0, 4)), np.zeros(0, np.int64))
    for images in (0, 2):
        comparison = compare_boxes([found()] * images, [nothing] * images)
        confusion = detection_confusion(comparison, confidence=0.0, num_classes=2)
        assert not confusion.counts.any()
        assert detection_metrics(comparison, num_classes=2).per_class == ()
