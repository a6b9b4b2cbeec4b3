"""A mask as one outline: what Ultralytics fills from it is the mask again."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bloomery_vision import rings
from bloomery_vision.formats.outlines import ring_of
from bloomery_vision.geometry import Mask, Point, Ring

Pixels = NDArray[np.bool_]


def filled(ring: Ring, like: Pixels) -> Pixels:
    """What Ultralytics makes of an outline in pixels: its points without fractions, filled with the edge."""
    canvas = np.zeros(like.shape, dtype=np.uint8)
    cv2.fillPoly(canvas, [np.asarray(ring, dtype=np.float32).astype(np.int32)], color=1)
    return canvas.astype(np.bool_)


def bridges(ring: Ring) -> set[tuple[Point, Point]]:
    """The sides of an outline that are passed in both directions, once each."""
    sides = set(zip(ring, (*ring[1:], *ring[:1]), strict=True))
    return {(one, other) for one, other in sides if one < other and (other, one) in sides}


def drawn(*boxes: tuple[int, int, int, int], holes: tuple[tuple[int, int, int, int], ...] = ()) -> Pixels:
    array = np.zeros((40, 50), dtype=np.bool_)
    for value, some in ((True, boxes), (False, holes)):
        for x, y, width, height in some:
            array[y : y + height, x : x + width] = value
    return array


@pytest.mark.parametrize(
    "array",
    [
        drawn((5, 5, 4, 4)),
        drawn((5, 5, 19, 19), holes=((8, 8, 13, 13),)),
        drawn((0, 0, 50, 40), holes=((2, 2, 5, 5), (20, 10, 1, 1), (30, 30, 10, 3))),
        drawn((5, 7, 15, 1)),
        drawn((5, 7, 1, 15)),
        drawn((49, 39, 1, 1)),
        np.eye(40, 50, 3, dtype=np.bool_),
    ],
    ids=["square", "ring", "holes", "line", "upright line", "pixel", "diagonal"],
)
def test_a_mask_of_one_part_comes_back_pixel_for_pixel(array: Pixels) -> None:
    ring = ring_of(Mask.from_array(array)).ring
    assert len(ring) > 2
    assert (filled(ring, array) == array).all()


def test_between_parts_there_is_a_bridge_and_nothing_else() -> None:
    array = drawn((5, 5, 10, 10), (20, 5, 10, 10))
    found = filled(ring_of(Mask.from_array(array)).ring, array)
    assert found[array].all()
    assert (found & ~array).sum() == 5


def test_each_part_is_joined_to_the_nearest() -> None:
    array = drawn((0, 0, 3, 3), (40, 0, 3, 3), (20, 0, 3, 3), (30, 0, 3, 3), (10, 0, 3, 3))
    found = filled(ring_of(Mask.from_array(array)).ring, array)
    assert (found & ~array).sum() == 4 * 7


def test_no_pixel_has_no_outline() -> None:
    assert ring_of(Mask.from_array(drawn())).ring == ()


def test_very_many_specks_take_no_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    real = rings._bridge

    def bridge(*rings: rings.Points) -> object:
        nonlocal compared
        compared += 1
        return real(*rings)

    monkeypatch.setattr(rings, "_bridge", bridge)
    array = np.zeros((200, 200), dtype=np.bool_)
    array[::4, ::4] = True
    ring = ring_of(Mask.from_array(array)).ring
    assert filled(ring, array)[array].all()
    assert compared <= 50 * 50 + rings._SPECKS**2 / 2, "not the square of their number"


@settings(max_examples=50)
@given(st.integers(0, 1 << 30), st.floats(0.2, 0.8))
def test_no_pixel_of_a_mask_is_lost_and_none_is_added_but_bridges(seed: int, share: float) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((40, 50)), (0, 0), 2.0)
    array = noise > np.quantile(noise, share)
    ring = ring_of(Mask.from_array(array)).ring
    found = filled(ring, array)
    assert found[array].all()
    assert (found & ~array).sum() <= sum(max(abs(x2 - x1), abs(y2 - y1)) for (x1, y1), (x2, y2) in bridges(ring))
