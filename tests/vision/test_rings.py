"""A mask as outlines along the edges of its pixels: the same area, whoever fills them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask, Polygon, Ring, Shape
from bloomery_vision.messages import shape_message, shape_value
from bloomery_vision.rasterize import rasterize
from bloomery_vision.rings import polygon_of

Pixels = NDArray[np.bool_]


def covered(polygon: Polygon, like: Pixels) -> Pixels:
    """The pixels whose centres lie inside, by the even-odd rule: a ray to the right crosses the outline."""
    height, width = like.shape
    centres = np.arange(width) + 0.5
    inside = np.zeros(like.shape, dtype=np.bool_)
    for ring in polygon.rings:
        for (x1, y1), (x2, y2) in zip(ring, (*ring[1:], *ring[:1]), strict=True):
            for row in range(height):
                level = row + 0.5
                if (y1 > level) != (y2 > level):
                    crossing = x1 + (level - y1) / (y2 - y1) * (x2 - x1)
                    inside[row] ^= centres < crossing
    return inside


def outlined(array: Pixels) -> Polygon:
    polygon = polygon_of(Mask.from_array(array))
    assert polygon is not None
    return polygon


def masks() -> st.SearchStrategy[Pixels]:
    sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
    return sizes.flatmap(
        lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
            lambda bits: np.array(bits, dtype=np.bool_).reshape(size)
        )
    )


@given(masks())
@settings(max_examples=300, deadline=None)
def test_the_polygon_of_a_mask_is_the_mask(array: Pixels) -> None:
    mask = Mask.from_array(array)
    polygon = polygon_of(mask)
    if not array.any():
        assert polygon is None
        return
    assert polygon is not None
    assert (covered(polygon, array) == array).all()
    assert polygon.area == array.sum()
    assert polygon.bounds == mask.bounds
    parts, _ = cv2.connectedComponents(array.astype(np.uint8), connectivity=8)
    assert len(polygon.rings) == parts - 1
    assert all(len(ring) >= 4 for ring in polygon.rings)


@given(masks())
@settings(max_examples=100, deadline=None)
def test_coco_fills_it_as_the_mask_and_the_contract_carries_it(array: Pixels) -> None:
    if not array.any():
        return
    polygon = outlined(array)
    height, width = array.shape
    assert (rasterize(polygon, (width, height), scale=(1, 1)).to_array() == array).all()
    assert shape_value(shape_message(Shape(polygon, "cell"))) == Shape(polygon, "cell")


def corners(ring: Ring) -> set[tuple[float, float]]:
    return set(ring)


def test_a_hole_is_joined_to_its_outline_and_parts_stay_apart() -> None:
    array = np.zeros((10, 20), dtype=np.bool_)
    array[1:8, 1:9] = True
    array[3:5, 3:5] = False
    array[2:4, 12:15] = True
    polygon = outlined(array)
    with_hole, other = sorted(polygon.rings, key=len, reverse=True)
    assert corners(with_hole) == {(1, 1), (9, 1), (9, 8), (1, 8), (3, 3), (3, 5), (5, 3), (5, 5)}
    assert len(with_hole) == 10
    assert corners(other) == {(12, 2), (15, 2), (15, 4), (12, 4)}


def test_pixels_that_touch_by_their_corners_are_one_outline() -> None:
    polygon = outlined(np.eye(4, dtype=np.bool_))
    assert len(polygon.rings) == 1
    assert polygon.area == 4


def test_a_large_disc_takes_no_more_points_than_its_edge_has_corners() -> None:
    array = np.zeros((480, 640), dtype=np.uint8)
    cv2.circle(array, (320, 240), 200, 1, -1)
    polygon = outlined(array.astype(np.bool_))
    assert len(polygon.points) < 2 * 2 * 400
    assert polygon.area == array.sum()


def test_a_damaged_mask_is_told() -> None:
    with pytest.raises(ValueError, match="the runs cover"):
        polygon_of(Mask(5, 5, b"1"))
