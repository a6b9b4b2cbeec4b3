from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bloomery_vision import suppression
from bloomery_vision.geometry import Box, iou
from bloomery_vision.postprocess import (
    Detections,
    decode_detections,
    decode_end2end,
    decode_masks,
    softmax,
    top_k,
)
from bloomery_vision.preprocess import letterbox
from bloomery_vision.suppression import nms, suppress_parts

CASES = st.integers(0, 40).flatmap(
    lambda count: st.tuples(
        arrays(np.float32, (count, 4), elements=st.integers(0, 60).map(float)),
        arrays(np.float32, count, elements=st.integers(0, 8).map(lambda score: score / 8)),
        arrays(np.int64, count, elements=st.integers(0, 2)),
    )
)


def brute_force(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], groups: NDArray[np.int64], limit: float
) -> list[int]:
    """Suppress as the definition says, one pair at a time."""
    kept: list[int] = []
    for candidate in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        box = Box.from_corners(*boxes[candidate].tolist())
        rivals = [other for other in kept if groups[other] == groups[candidate]]
        if all(iou(box, Box.from_corners(*boxes[other].tolist())) <= limit for other in rivals):
            kept.append(candidate)
    return kept


def raw_of(boxes: NDArray[np.float32], scores: NDArray[np.float32], groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what a head would put out for boxes, a score and a class each: [4 + 3, A]."""
    corners = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    probabilities = np.zeros((len(scores), 3), dtype=np.float32)
    probabilities[np.arange(len(scores)), groups] = scores
    return np.concatenate([corners, probabilities], axis=1).T.astype(np.float32)


def with_sides(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:]) + 1
    return np.concatenate([low, high], axis=1)


@given(CASES, st.sampled_from([0.3, 0.51, 0.7]))
def test_suppression_agrees_with_its_definition(
    case: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]], limit: float
) -> None:
    boxes, scores, groups = with_sides(case[0]), case[1], case[2]
    assert nms(boxes, scores, iou=limit).tolist() == brute_force(boxes, scores, np.zeros_like(groups), limit)
    found = decode_detections(raw_of(boxes, scores, groups), conf=0.01, iou=limit, max_det=1000)
    expected = [index for index in brute_force(boxes, scores, groups, limit) if scores[index] > 0.01]
    assert found.boxes.tolist() == boxes[expected].tolist()
    assert found.scores.tolist() == scores[expected].tolist()
    assert found.classes.tolist() == groups[expected].tolist()


def covered(box: Box, other: Box) -> float:
    """Return the part of a box that lies in another one."""
    width = min(box.x2, other.x2) - max(box.x, other.x)
    height = min(box.y2, other.y2) - max(box.y, other.y)
    return max(width, 0) * max(height, 0) / (box.width * box.height)


@given(
    CASES,
    st.integers(0, 2**40),
    st.sampled_from([0, 0.3, 0.51, 0.7, 1]),
    st.sampled_from([(1, 1), (9, 1), (1, 9)]),
    st.booleans(),
)
def test_suppression_of_cut_boxes_agrees_with_its_definition(
    case: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]],
    pieces: int,
    limit: float,
    spread: tuple[int, int],
    many: bool,
) -> None:
    # Spread along one axis, most boxes have few beside them.
    boxes, groups = with_sides(case[0]) + np.tile(case[0][:, :2] * spread, 2), case[2]
    cut = np.array([pieces >> number & 1 for number in range(len(groups))], dtype=np.bool_)
    found = [Box.from_corners(*box) for box in boxes.tolist()]
    kept: list[int] = []
    for one in sorted(range(len(found)), key=lambda index: (cut[index], index)):
        rivals = [found[other] for other in kept if groups[other] == groups[one]]
        measure = covered if cut[one] else iou
        if all(measure(found[one], rival) <= limit for rival in rivals):
            kept.append(one)
    with patch.object(suppression, "_MANY", 2 if many else 100):
        assert suppress_parts(boxes, groups, cut, iou=limit).tolist() == sorted(kept)


TWO = np.array([[10, 10, 30, 30], [11, 10, 31, 30]], dtype=np.float32)


def detect_two(**options: object) -> Detections:
    raw = raw_of(TWO, np.array([0.9, 0.8], dtype=np.float32), np.array([0, 1]))
    return decode_detections(raw, **options)  # type: ignore[arg-type]


def test_boxes_of_different_classes_stay_unless_agnostic() -> None:
    assert detect_two().classes.tolist() == [0, 1]
    assert detect_two(agnostic=True).classes.tolist() == [0]


def test_classes_scores_and_numbers_are_limited() -> None:
    assert detect_two(classes=[1]).scores.tolist() == pytest.approx([0.8])
    assert detect_two(classes=[]).scores.tolist() == []
    assert detect_two(conf=0.85).classes.tolist() == [0]
    assert len(detect_two(max_det=1)) == 1


def test_nothing_found_has_the_shapes_of_something_found() -> None:
    found = detect_two(conf=0.99)
    assert (found.boxes.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))
    assert len(decode_detections(np.zeros((7, 0), dtype=np.float32))) == 0


def test_an_anchor_may_give_several_labels_for_evaluation() -> None:
    raw = np.array([[20, 20, 10, 10, 0.6, 0.7]], dtype=np.float32).T
    assert decode_detections(raw).classes.tolist() == [1]
    assert decode_detections(raw, multi_label=True).classes.tolist() == [1, 0]


def test_coefficients_stay_with_their_boxes() -> None:
    raw = raw_of(TWO, np.array([0.8, 0.9], dtype=np.float32), np.array([0, 1]))
    raw = np.concatenate([raw, np.array([[1, 2], [3, 4]], dtype=np.float32)])
    found = decode_detections(raw, num_classes=3)
    assert found.coefficients is not None
    assert found.coefficients.tolist() == [[2, 4], [1, 3]]


def test_a_head_without_suppression_is_sorted_and_stripped_of_its_padding() -> None:
    raw = np.zeros((300, 6), dtype=np.float32)
    raw[5], raw[9] = [1, 2, 3, 4, 0.5, 1], [5, 6, 7, 8, 0.75, 0]
    found = decode_end2end(raw, conf=0.25)
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.classes.tolist() == [0, 1]
    assert found.coefficients is None
    assert len(decode_end2end(raw, conf=0.0)) == 2
    assert decode_end2end(raw, classes=[1]).boxes.tolist() == [[1, 2, 3, 4]]


def test_a_mask_lies_where_its_prototype_says_in_the_original_image() -> None:
    _, transform = letterbox(np.zeros((100, 200, 3), dtype=np.uint8), (64, 64))
    prototypes = np.full((2, 16, 16), -1, dtype=np.float32)
    prototypes[0, 4:8, 0:8] = 1  # the upper left quarter of the picture between the bars
    boxes = transform.to_letterboxed(np.array([[0, 0, 200, 100], [0, 0, 50, 100]])).astype(np.float32)
    found = Detections(
        boxes, np.ones(2, dtype=np.float32), np.zeros(2, dtype=np.int64), np.array([[1, 0], [1, 0]], dtype=np.float32)
    )
    whole, cut = decode_masks(prototypes, found, transform, size=(64, 64))
    assert whole.shape == (100, 200)
    assert whole[:40, :90].all()
    assert not whole[60:].any()
    assert not whole[:, 110:].any()
    assert cut[:40, :49].all()
    assert not cut[:, 51:].any()


def test_masks_need_coefficients() -> None:
    _, transform = letterbox(np.zeros((10, 10, 3), dtype=np.uint8), (32, 32))
    with pytest.raises(ValueError, match="coefficients"):
        next(decode_masks(np.zeros((2, 8, 8), dtype=np.float32), detect_two(), transform, size=(32, 32)))


def test_detections_move_to_the_original_image() -> None:
    _, transform = letterbox(np.zeros((100, 200, 3), dtype=np.uint8), (64, 64))
    found = detect_two().to_original(transform)
    assert found.boxes.dtype == np.float32
    assert found.boxes[0].tolist() == pytest.approx([31.25, 0, 93.75, 43.75])


def test_the_most_probable_classes_come_first() -> None:
    probabilities = softmax(np.array([1.0, 3.0, 2.0], dtype=np.float32))
    assert probabilities.sum() == pytest.approx(1)
    assert [score.index for score in top_k(probabilities, 2)] == [1, 2]
    assert len(top_k(probabilities, 9)) == 3
    assert softmax(np.array([1000.0, 0.0], dtype=np.float32)).tolist() == [1, 0]
