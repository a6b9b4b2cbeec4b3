import numpy as np
import pytest
from numpy.typing import NDArray

from bloomery_vision.postprocess import Detections
from bloomery_vision.scenes import GroundTruth
from tests.vision.measuring import measured

Rows = list[list[float]]


def found(*rows: list[float]) -> Detections:
    """Return detections from rows of x1, y1, x2, y2, score, class."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def truth(*rows: list[float], crowd: list[bool] | None = None) -> GroundTruth:
    """Return objects from rows of x1, y1, x2, y2, class."""
    table: NDArray[np.float64] = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return GroundTruth(table[:, :4], table[:, 4].astype(np.int64), None if crowd is None else np.array(crowd))


def test_perfect_detections_score_one() -> None:
    metrics = measured([found([0, 0, 10, 10, 0.9, 0])], [truth([0, 0, 10, 10, 0])], num_classes=1)
    assert (metrics.map50, metrics.map50_95, metrics.precision, metrics.recall) == pytest.approx((1, 1, 1, 1))
    assert metrics.per_class[0].best.confidence == pytest.approx(0.9)


def test_average_precision_of_a_case_by_hand() -> None:
    # Best first: hit, miss, hit of two objects. Precision is 1 up to recall 0.5 (51 of 101 points), then 2/3 (50).
    predictions = found([0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0], [20, 20, 30, 30, 0.7, 0])
    metrics = measured([predictions], [truth([0, 0, 10, 10, 0], [20, 20, 30, 30, 0])], num_classes=1)
    assert metrics.map50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert metrics.map50_95 == pytest.approx(metrics.map50)
    # F1 is 2/3 after the first, 0.8 after the third.
    assert (metrics.precision, metrics.recall) == pytest.approx((2 / 3, 1))
    assert metrics.per_class[0].best.confidence == pytest.approx(0.7)


def test_the_mean_over_thresholds_counts_overlap() -> None:
    # The overlap is 8/10: a hit at 0.50 to 0.75 (six thresholds of ten) and at 0.80.
    metrics = measured([found([0, 0, 8, 10, 0.9, 0])], [truth([0, 0, 10, 10, 0])], num_classes=1)
    assert metrics.map50 == pytest.approx(1)
    assert metrics.map50_95 == pytest.approx(0.7)


def test_a_second_detection_of_an_object_is_a_miss() -> None:
    predictions = found([0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.95, 0])
    metrics = measured([predictions], [truth([0, 0, 10, 10, 0], [50, 50, 60, 60, 0])], num_classes=1)
    assert metrics.map50 == pytest.approx(51 / 101)


def test_classes_count_equally_and_those_without_objects_not_at_all() -> None:
    predictions = found([0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.9, 2])
    objects = truth([0, 0, 10, 10, 0], [20, 20, 30, 30, 1], [40, 20, 50, 30, 1])
    metrics = measured([predictions], [objects], num_classes=3)
    assert [one.index for one in metrics.per_class] == [0, 1]
    assert [one.instances for one in metrics.per_class] == [1, 2]
    assert [one.ap50 for one in metrics.per_class] == pytest.approx([1, 0])
    assert metrics.map50 == pytest.approx(0.5)


def test_a_crowd_counts_neither_as_object_nor_as_miss() -> None:
    predictions = found([0, 0, 10, 10, 0.9, 0], [50, 50, 55, 55, 0.95, 0], [56, 56, 59, 59, 0.99, 0])
    objects = truth([0, 0, 10, 10, 0], [40, 40, 90, 90, 0], crowd=[False, True])
    metrics = measured([predictions], [objects], num_classes=1)
    assert metrics.map50 == pytest.approx(1)
    assert metrics.per_class[0].instances == 1


def test_a_detection_on_an_empty_image_is_a_miss() -> None:
    hit, miss = found([0, 0, 10, 10, 0.5, 0]), found([0, 0, 10, 10, 0.9, 0])
    metrics = measured([hit, miss], [truth([0, 0, 10, 10, 0]), truth()], num_classes=1)
    assert metrics.map50 == pytest.approx(0.5)


def test_more_than_a_hundred_objects_on_an_image_count() -> None:
    corners = [[float(index * 12), 0.0, index * 12 + 10.0, 10.0] for index in range(200)]
    predictions = found(*[[*box, 0.9, 0] for box in corners])
    objects = truth(*[[*box, 0] for box in corners])
    assert measured([predictions], [objects], num_classes=1).map50 == pytest.approx(1)
    assert measured([predictions], [objects], num_classes=1, max_det=100).map50 == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("predictions", [found(), found([0, 0, 9, 9, 0.9, 0])])
def test_nothing_there_or_nothing_found_scores_nought(predictions: Detections) -> None:
    assert measured([predictions], [truth()], num_classes=1).map50 == 0
    assert measured([found()], [truth([0, 0, 10, 10, 0])], num_classes=1).recall == 0


def test_each_image_needs_its_predictions() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 images"):
        measured([found()], [truth(), truth()], num_classes=1)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    measured([found([0, 0, 10, 10, 0.9, 0])], [truth([0, 0, 10, 10, 0])], num_classes=1)
    assert capfd.readouterr() == ("", "")
