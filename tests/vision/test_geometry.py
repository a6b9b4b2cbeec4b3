import math
import tracemalloc

import numpy as np
import pytest
import shapely  # type: ignore[import-untyped]
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bloomery_vision.findings import Severity
from bloomery_vision.geometry import Box, Geometry, Mask, Point, Polygon, Ring, Shape, Tag, iou, iou_matrix
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


def test_what_lies_inside_stays_as_it_is() -> None:
    for geometry in (Box(0, 0, 100, 80), Polygon(SQUARE), Mask(100, 80, b"0"), Tag()):
        assert geometry.inside(100, 80) is geometry


def test_what_sticks_out_is_cut_at_the_edge() -> None:
    assert Box(-5, 70, 20, 20).inside(100, 80) == Box(0, 70, 15, 10)
    triangle = Polygon(((80, 10), (120, 10), (80, 30)))
    assert triangle.inside(100, 80) == Polygon(((80, 10), (100, 10), (100, 20), (80, 30)))
    assert Polygon(((-10, -10), (110, -10), (110, 90), (-10, 90))).inside(100, 80).area == 8000  # type: ignore[union-attr]


def test_outlines_that_lie_outside_go_and_the_others_stay() -> None:
    outside = ((110.0, 10.0), (120.0, 10.0), (110.0, 30.0))
    assert Polygon(SQUARE, (outside,)).inside(100, 80) == Polygon(SQUARE)
    assert Polygon(outside, (SQUARE,)).inside(100, 80) == Polygon(SQUARE)


@pytest.mark.parametrize(
    "geometry",
    [
        Box(100, 0, 5, 5),
        Box(-5, 0, 5, 5),
        Box(120, 90, 5, 5),
        Polygon(((110, 10), (120, 10), (110, 30))),
        Polygon(((99, -5), (120, -5), (120, 16))),
        Polygon(((100, 10), (120, 10), (100, 30))),
    ],
)
def test_nothing_is_left_of_what_lies_outside(geometry: Box | Polygon) -> None:
    assert geometry.inside(100, 80) is None
    assert codes(Shape(geometry, "x")) == ["OUTSIDE_IMAGE"]


def star(points: list[Point]) -> Polygon:
    """The points in the order in which they are seen from their middle, which makes a simple outline of them."""
    middle = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    return Polygon(tuple(sorted(points, key=lambda point: math.atan2(point[1] - middle[1], point[0] - middle[0]))))


@example(star([(0.0, 1.0), (0.5, 0.0), (-5e-324, 0.0)]))
@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=8).map(star))
def test_what_is_left_of_an_outline_is_its_share_of_the_image(polygon: Polygon) -> None:
    whole = shapely.Polygon(polygon.points)
    assume(whole.is_valid)
    left = polygon.inside(100, 80)
    share = whole.intersection(shapely.box(0, 0, 100, 80)).area
    assert (left.area if isinstance(left, Polygon) else 0.0) == pytest.approx(share, abs=1e-6)
    assert left is None or left.inside(100, 80) is left


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


def test_a_large_mask_of_few_runs_takes_no_memory_until_its_pixels_are_asked_for() -> None:
    side = 20_000
    tracemalloc.start()
    mask = Mask.from_runs(side, side, [side + 1, 2, side**2 - side - 3])
    assert (mask.area, mask.bounds) == (2, Box(1, 1, 1, 2))
    assert validate_shape(Shape(mask, "x"), side, side) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


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
    assert Tag().bounds is None
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


TIP = ((0, 0), (20, 0), (10, 20), (10, 25), (10, 30), (10, 25), (10, 20))


@pytest.mark.parametrize("start", range(len(TIP)))
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_a_tip_of_one_pixel_is_no_defect(start: int, closed: bool) -> None:
    ring = (*TIP[start:], *TIP[:start], *(TIP[start : start + 1] if closed else ()))
    assert codes(Shape(Polygon(ring), "cell")) == []


def test_a_tip_hides_no_crossing() -> None:
    ring = ((0, 0), (20, 20), (20, 0), (25, 0), (20, 0), (0, 18))
    assert codes(Shape(Polygon(ring), "cell")) == ["SELF_INTERSECTION"]


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


@pytest.mark.parametrize(
    ("geometry", "area", "weight", "rings"),
    [
        (Box(1, 2, 3, 4), 12, 32, (((1, 2), (4, 2), (4, 6), (1, 6)),)),
        (Polygon(((0, 0), (4, 0), (4, 4))), 8, 48, (((0, 0), (4, 0), (4, 4)),)),
        (Mask.from_array(np.ones((2, 3), bool)), 6, 2, ()),
        (Tag(), 0, 0, ()),
    ],
)
def test_every_kind_of_geometry_answers_the_same_questions(
    geometry: Geometry, area: float, weight: int, rings: tuple[Ring, ...]
) -> None:
    assert (geometry.area, geometry.weight, geometry.rings) == (area, weight, rings)
    assert geometry.inside(100, 100) == geometry
    assert geometry.bounds is None or geometry.bounds.area >= area
