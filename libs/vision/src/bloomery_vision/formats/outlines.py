"""One closed outline for an object, which is all that a YOLO line can hold."""

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask, Polygon, Ring

Points = NDArray[np.float64]


def single_ring(polygon: Polygon) -> Ring:
    """The outlines of a polygon as one, joined by bridges without width between their nearest points."""
    rings = [_clockwise(np.array(ring, dtype=np.float64)) for ring in polygon.rings]
    joined = rings[0]
    for ring in rings[1:]:
        joined = _bridge(joined, ring)
    return tuple((float(x), float(y)) for x, y in joined)


def outline(mask: Mask) -> Polygon | None:
    """The outer outlines of a mask through the centres of its border pixels; None where it has no two-dimensional part.

    Holes are filled, and the outline lies half a pixel inside the mask's edge.
    """
    import cv2

    found, _ = cv2.findContours(mask.to_array().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rings = [tuple((float(x) + 0.5, float(y) + 0.5) for x, y in ring.reshape(-1, 2)) for ring in found if len(ring) > 2]
    return Polygon(rings[0], tuple(rings[1:])) if rings else None


def _bridge(first: Points, second: Points) -> Points:
    distances = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    detour = np.concatenate([second[there:], second[: there + 1]])
    return np.concatenate([first[: here + 1], detour, first[here:]])


def _clockwise(ring: Points) -> Points:
    following = np.roll(ring, -1, axis=0)
    signed = (ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum()
    return ring if signed >= 0 else ring[::-1]
