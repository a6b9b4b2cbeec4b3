import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bloomery_vision.findings import Severity
from bloomery_vision.geometry import Box, Mask, Polygon, Shape, Tag, bounds, iou, iou_matrix
from bloomery_vision.validate import validate_shape

COORDINATES = st.floats(-50, 150, allow_nan=False)
BOXES = st.builds(Box.from_corners, COORDINATES, COORDINATES, COORDINATES, COORDINATES)
MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
SQUARE = ((10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0))


def codes(shape: Shape, width: int | None = 100, height: int | None = 80) -> list[str]:
    return [finding.code for finding in validate_shape(shape, width, height)]


def test_polygon_area_is_that_of_its_outlines() -> None:
    triangle = ((50.0, 0.0), (60.0, 0.0), (50.0, 10.0))
    assert Polygon(SQUARE).area == 400
    assert Polygon(tuple(reversed(SQUARE)), (triangle,)).area == 450


def test_polygon_bounds_hold_all_parts() -> None:
    assert Polygon(SQUARE, (((0.0, 5.0), (1.0, 5.0), (1.0, 70.0)),)).bounds == Box(0, 5, 30, 65)


@given(BOXES)
def test_clipped_box_lies_inside_and_is_the_shared_part(box: Box) -> None:
    clipped = box.clip(100, 80)
    assert 0 <= clipped.x <= clipped.x2 <= 100 + 1e-9
    assert 0 <= clipped.y <= clipped.y2 <= 80 + 1e-9
    frame = Box(0, 0, 100, 80)
    if box.width > 0 and box.height > 0:
        shared = max(min(box.x2, frame.x2) - max(box.x, 0), 0) * max(min(box.y2, frame.y2) - max(box.y, 0), 0)
        assert clipped.area == pytest.approx(shared, abs=1e-6)


@given(MASKS)
def test_mask_survives_run_length_encoding(array: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    mask = Mask.from_array(array)
    assert np.array_equal(mask.to_array(), array)
    assert Mask.from_runs(mask.width, mask.height, mask.runs()) == mask
    assert mask.area == array.sum()


@given(MASKS)
def test_mask_bounds_are_tight(array: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    box = Mask.from_array(array).bounds
    x, y, x2, y2 = (int(value) for value in (box.x, box.y, box.x2, box.y2))
    assert array[y:y2, x:x2].sum() == array.sum()
    if array.any():
        inside = array[y:y2, x:x2]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()


@given(st.binary(max_size=40))
def test_damaged_run_lengths_are_refused_or_fit(counts: bytes) -> None:
    mask = Mask(6, 5, counts)
    try:
        assert sum(mask.runs()) == 30
    except ValueError:
        assert "BAD_MASK" in codes(Shape(mask, "a"), 6, 5)


@pytest.mark.parametrize("counts", [b"1", b"P", b"oooooooooooo", b"", b"\xff", b"S\x00"])
def test_known_damages_of_run_lengths_are_refused(counts: bytes) -> None:
    with pytest.raises(ValueError, match=r"run|text|number"):
        Mask(5, 5, counts).to_array()


@given(BOXES, BOXES)
def test_iou_is_symmetric_and_between_0_and_1(first: Box, second: Box) -> None:
    assert iou(first, second) == iou(second, first)
    assert 0 <= iou(first, second) <= 1 + 1e-9


def test_iou_of_known_boxes() -> None:
    assert iou(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert iou(Box(0, 0, 10, 10), Box(10, 0, 10, 10)) == 0
    assert iou(Box(3, 3, 0, 0), Box(3, 3, 0, 0)) == 0


@given(st.lists(BOXES, min_size=1, max_size=5), st.lists(BOXES, max_size=5))
def test_iou_matrix_agrees_with_iou(first: list[Box], second: list[Box]) -> None:
    def corners(boxes: list[Box]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return np.array([[box.x, box.y, box.x2, box.y2] for box in boxes], dtype=np.float64).reshape(-1, 4)

    matrix = iou_matrix(corners(first), corners(second))
    assert matrix.shape == (len(first), len(second))
    for row, a in enumerate(first):
        for column, b in enumerate(second):
            assert matrix[row, column] == pytest.approx(iou(a, b), abs=1e-6)


def test_a_tag_has_no_place() -> None:
    assert bounds(Tag()) is None
    assert codes(Shape(Tag(), "sunny")) == []


@pytest.mark.parametrize(
    ("geometry", "code"),
    [
        (Box(math.nan, 0, 5, 5), "NOT_FINITE"),
        (Box(0, 0, math.inf, 5), "NOT_FINITE"),
        (Box(5, 5, 0, 5), "ZERO_AREA"),
        (Box(5, 5, -3, 5), "ZERO_AREA"),
        (Box(100, 5, 5, 5), "OUTSIDE_IMAGE"),
        (Box(-6, 5, 5, 5), "OUTSIDE_IMAGE"),
        (Box(0, 79, 5, 5), "PARTLY_OUTSIDE"),
        (Box(3, 4, 1, 1), "ONE_PIXEL"),
        (Polygon(((0, 0), (5, 5))), "TOO_FEW_POINTS"),
        (Polygon(((0, 0), (5, 5), (0, 0))), "TOO_FEW_POINTS"),
        (Polygon(SQUARE, (((0, 0),),)), "TOO_FEW_POINTS"),
        (Polygon(((0, 0), (5, 5), (9, 9))), "ZERO_AREA"),
        (Polygon(((0, 0), (5, math.nan), (9, 9))), "NOT_FINITE"),
        (Polygon(((0, 0), (20, 20), (20, 0), (0, 18))), "SELF_INTERSECTION"),
        (Polygon(((0, 0), (120, 20), (20, 30))), "PARTLY_OUTSIDE"),
        (Mask.from_runs(10, 8, [80]), "MASK_SIZE"),
        (Mask.from_runs(100, 80, [8000]), "ZERO_AREA"),
        (Mask(100, 80, b"12"), "BAD_MASK"),
    ],
)
def test_each_defect_is_found(geometry: Box | Polygon | Mask, code: str) -> None:
    assert codes(Shape(geometry, "cell")) == [code]


def test_all_defects_of_a_shape_are_listed() -> None:
    assert codes(Shape(Box(5, 5, 0, 0), " ")) == ["EMPTY_LABEL", "ZERO_AREA"]


def test_a_sound_shape_has_no_findings() -> None:
    assert codes(Shape(Box(0, 0, 100, 80), "cell")) == []
    assert codes(Shape(Polygon(SQUARE), "cell")) == []


def test_rounding_over_the_edge_is_no_defect() -> None:
    assert codes(Shape(Box(-0.4, 0, 100.8, 80.4), "cell")) == []


def test_without_a_size_only_the_shape_itself_is_looked_at() -> None:
    assert codes(Shape(Box(1e6, 1e6, 5, 5), "cell"), None, None) == []
    assert codes(Shape(Box(1e6, 1e6, 0, 5), "cell"), None, None) == ["ZERO_AREA"]


def test_findings_say_where_and_what_to_do() -> None:
    (finding,) = validate_shape(Shape(Box(100, 5, 5, 5), "cell"), 100, 80, "a.xml#object[1]")
    assert finding.severity is Severity.ERROR
    assert finding.path == "a.xml#object[1]"
    assert "100 x 80" in finding.message
    assert finding.hint
