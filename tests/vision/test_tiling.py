"""Regions and tiles of an image, and what is seen on them brought together."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bloomery_vision.decoders import YOLO, YOLO_END_TO_END
from bloomery_vision.geometry import Box, Found, Mask, iou_matrix
from bloomery_vision.interpret import Choice, OutputError, fit_part, interpret
from bloomery_vision.mosaic import Mosaic
from bloomery_vision.rle import runs_of_part
from bloomery_vision.tiling import Grid, Window

SIDE = 64
NAMES = ("cat", "dog")
LENGTHS = st.integers(1, 700)
OVERLAPS = st.floats(0, 0.9)


@given(st.builds(Window, st.integers(0, 50), st.integers(0, 50), LENGTHS, LENGTHS), LENGTHS, LENGTHS, OVERLAPS)
@example(Window(0, 0, 65, 64), 64, 64, 0.0)
@example(Window(3, 4, 64, 64), 64, 64, 0.9)
def test_tiles_cover_every_pixel_and_overlap_as_much_as_asked(
    region: Window, width: int, height: int, overlap: float
) -> None:
    grid = Grid(width, height, overlap)
    if grid.count(region) > 5000:
        return
    tiles = grid.tiles(region)
    assert len(tiles) == grid.count(region)
    for first, length, side, spans in (
        (region.left, region.width, width, {(tile.left, tile.right) for tile in tiles}),
        (region.top, region.height, height, {(tile.top, tile.bottom) for tile in tiles}),
    ):
        ordered = sorted(spans)
        assert (ordered[0][0], ordered[-1][1]) == (first, first + length)
        assert {end - start for start, end in ordered} == {min(side, length)}
        for (_, end), (start, _) in itertools.pairwise(ordered):
            # At least a pixel of progress is made, however small a tile is.
            assert end - start >= min(side * overlap, side - 1) - 1e-9
    assert len(set(tiles)) == len(tiles)


@given(st.builds(Window, st.just(0), st.just(0), LENGTHS, LENGTHS), OVERLAPS, st.integers(1, 50))
def test_the_smallest_side_that_is_named_is_enough(region: Window, overlap: float, most: int) -> None:
    side = Grid(32, 32, overlap).smallest_side(region, most)
    assert Grid(side, side, overlap).count(region) <= most
    assert side == 32 or Grid(side - 32, side - 32, overlap).count(region) > most


@pytest.mark.parametrize(
    ("box", "window"),
    [
        (Box(10, 20, 5, 6), Window(10, 20, 5, 6)),
        (Box(10.2, 19.9, 5, 6), Window(10, 19, 6, 7)),
        (Box(-5, -5, 500, 500), Window(0, 0, 100, 80)),
        (Box(99.5, 0, 3, 3), Window(99, 0, 1, 3)),
        (Box(100, 0, 3, 3), None),
        (Box(-3, 0, 3, 3), None),
    ],
)
def test_a_region_is_widened_to_pixels_and_cut_at_the_edges(box: Box, window: Window | None) -> None:
    assert Window.around(box, 100, 80) == window


@given(
    arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_a_part_of_a_mask_is_the_mask_that_is_empty_elsewhere(
    part: np.ndarray, left: int, top: int, right: int, below: int
) -> None:
    whole = np.pad(part, ((top, below), (left, right)))
    height, width = whole.shape
    runs = runs_of_part(part, left=left, top=top, width=width, height=height)
    assert Mask.from_runs(width, height, runs) == Mask.from_array(whole)


def raw(*anchors: tuple[float, ...]) -> np.ndarray:
    return np.array(anchors, dtype=np.float32).reshape(-1, 6).T


def gathered(width: int, height: int, seen: dict[int, np.ndarray], choice: Choice, decoder: str = YOLO) -> list[Found]:
    """What is found on the tiles of an image, on which a model gives the raw outputs by the tile's number."""
    region = Window(0, 0, width, height)
    mosaic = Mosaic(decoder, NAMES, choice, region)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for number, tile in enumerate(Grid(SIDE, SIDE, 0.25).tiles(region)):
        mosaic.add([seen.get(number, raw())], fit_part(image, tile, (SIDE, SIDE), "letterbox"))
    return list(mosaic.found())


def test_what_two_tiles_see_is_one_object_with_the_better_score() -> None:
    # Tiles begin at 0 and 48.
    seen = {0: raw((56, 20, 10, 10, 0.7, 0)), 1: raw((8, 20, 10, 10, 0.9, 0), (40, 40, 8, 8, 0, 0.95))}
    found = gathered(112, 64, seen, Choice())
    assert [(one.label, one.geometry) for one in found] == [("dog", Box(84, 36, 8, 8)), ("cat", Box(51, 15, 10, 10))]
    assert found[1].score == pytest.approx(0.9)


def test_classes_do_not_drop_each_other_over_tiles() -> None:
    seen = {0: raw((56, 20, 10, 10, 0.7, 0)), 1: raw((8, 20, 10, 10, 0, 0.9))}
    assert [one.label for one in gathered(112, 64, seen, Choice())] == ["dog", "cat"]


def test_a_cut_piece_goes_where_another_tile_sees_the_whole_even_with_a_lower_score() -> None:
    # 20 pixels from 42 on: the first tile sees all, the second those from 48 on.
    whole, piece = (52, 20, 20, 10, 0.6, 0), (7, 20, 14, 10, 0.9, 0)
    found = gathered(112, 64, {0: raw(whole), 1: raw(piece)}, Choice(iou=0.85))
    assert [one.geometry for one in found] == [Box(42, 15, 20, 10)]


def test_what_ends_at_the_edge_of_the_image_is_not_cut() -> None:
    # The better one begins half a pixel from the edge, most of it lies in the other.
    inner, outer = (20.75, 20, 38.5, 20, 0.6, 0), (6.25, 20, 11.5, 10, 0.9, 0)
    found = gathered(64, 64, {0: raw(inner, outer)}, Choice(iou=0.2))
    assert [one.score for one in found] == pytest.approx([0.9, 0.6])


def test_pieces_of_what_no_tile_sees_as_a_whole_stay() -> None:
    found = gathered(112, 64, {0: raw((44, 20, 40, 10, 0.8, 0)), 1: raw((20, 20, 40, 10, 0.7, 0))}, Choice())
    assert len(found) == 2


def test_the_heads_without_suppression_are_suppressed_over_tiles() -> None:
    first = np.array([[51, 15, 61, 25, 0.7, 0]], dtype=np.float32)
    second = np.array([[3, 15, 13, 25, 0.9, 0]], dtype=np.float32)
    [found] = gathered(112, 64, {0: first, 1: second, 2: first}, Choice(), YOLO_END_TO_END)
    assert found.geometry == Box(51, 15, 10, 10)


def test_one_suppression_over_all_tiles_agrees_with_its_definition() -> None:
    random = np.random.default_rng(5)
    seen, boxes, scores, classes = {}, [], [], []
    for number, left in enumerate((0, 48, 96, 144)):
        anchors = []
        for _ in range(60):
            x, y, width, height = random.uniform(20, 44), random.uniform(20, 44), *random.uniform(4, 30, 2)
            score, group = random.uniform(0.3, 0.9), int(random.integers(2))
            anchors.append((x, y, width, height, *(score if group == one else 0 for one in range(2))))
            corners = np.clip([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 0, 64)
            boxes.append(corners + np.array([left, 0, left, 0]))
            scores.append(score)
            classes.append(group)
        seen[number] = raw(*anchors)
    order = np.argsort(-np.array(scores))
    overlaps = iou_matrix(np.array(boxes), np.array(boxes))
    kept: list[int] = []
    for one in order:
        if all(overlaps[one, other] <= 0.4 or classes[one] != classes[other] for other in kept):
            kept.append(int(one))
    found = gathered(208, 64, seen, Choice(iou=0.4, max_det=50))
    assert len(found) == 50
    assert [one.score for one in found] == pytest.approx([scores[index] for index in kept[:50]])


def test_what_is_no_answer_of_such_a_model_is_told() -> None:
    with pytest.raises(OutputError, match="a model of 2 classes gives 6 numbers"):
        gathered(112, 64, {1: np.ones((9, 2), dtype=np.float32)}, Choice())


def test_one_tile_gives_what_the_image_as_a_whole_gives() -> None:
    outputs = [raw((20, 32, 8, 8, 0.9, 0), (21, 32, 8, 8, 0.8, 0), (40, 32, 8, 8, 0, 0.7), (60, 32, 4, 4, 0.3, 0))]
    image = np.zeros((50, 60, 3), dtype=np.uint8)
    region = Window(0, 0, 60, 50)
    [tile] = Grid(SIDE, SIDE).tiles(region)
    fitted = fit_part(image, tile, (SIDE, SIDE), "letterbox")
    mosaic = Mosaic(YOLO, NAMES, Choice(), region)
    mosaic.add(outputs, fitted)
    assert list(mosaic.found()) == list(interpret(YOLO, outputs, fitted, NAMES, Choice()))
