"""Shapes that were drawn on the stored pixels of a photograph, turned as the photograph is shown."""

from collections.abc import Callable, Mapping
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Box, Geometry, Mask, Point, Polygon, Ring, Tag

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that show a photograph with its sides swapped."""

_Array = NDArray[np.bool_]
_MASKS: Mapping[int, Callable[[_Array], _Array]] = {
    5: lambda array: array.T,
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).T,
    8: np.rot90,
}


def turned(geometry: Geometry, orientation: int, width: int, height: int) -> Geometry:
    """The geometry as it lies in the image as it is shown.

    Args:
        geometry: in pixels of the image as it is stored.
        orientation: one of `SIDEWAYS`.
        width: of the image as it is stored, pixels.
        height: the same.
    """
    match geometry:
        case Box(x, y):
            first = _point((x, y), orientation, width, height)
            last = _point((geometry.x2, geometry.y2), orientation, width, height)
            (left, right), (top, bottom) = (sorted(pair) for pair in zip(first, last, strict=True))
            return Box.from_corners(left, top, right, bottom)
        case Polygon():
            ring, *parts = (_ring(one, orientation, width, height) for one in geometry.rings)
            return Polygon(ring, tuple(parts))
        case Mask():
            return Mask.from_array(np.ascontiguousarray(_MASKS[orientation](geometry.to_array())))
        case Tag():
            return geometry
    assert_never(geometry)


def _ring(ring: Ring, orientation: int, width: int, height: int) -> Ring:
    return tuple(_point(point, orientation, width, height) for point in ring)


def _point(point: Point, orientation: int, width: int, height: int) -> Point:
    x, y = point
    # 5 and 8 begin with what was the left column, 6 and 7 with what was the lowest row.
    return (y if orientation in (5, 8) else height - y), (x if orientation in (5, 6) else width - x)
