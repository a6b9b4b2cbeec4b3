"""One closed outline for an object, which is all that a YOLO line can hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask, Polygon, Ring

Points = NDArray[np.float64]
_PAIRS = 1 << 20
"""Distances that are computed at once."""
_SPECKS = 200


def single_ring(polygon: Polygon) -> Ring:
    """The outlines of a polygon as one, joined by bridges without width between their nearest points."""
    return _joined([_clockwise(np.array(ring, dtype=np.float64)) for ring in polygon.rings])


@dataclass(frozen=True, slots=True)
class Outline:
    """A mask as one closed outline, empty for no pixel, and of how many parts and holes it is made."""

    ring: Ring
    parts: int
    holes: int


def ring_of(mask: Mask) -> Outline:
    """The parts and holes of a mask as one outline through the centres of their border pixels.

    Ultralytics drops the fractions of points and fills an outline with its edge and by the even-odd rule, so that it
    gets back each pixel of the mask.
    """
    import cv2

    found, above = cv2.findContours(mask.to_array().astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_centres(contour.reshape(-1, 2).astype(np.float64)) for contour in found]
    if not rings:
        return Outline((), 0, 0)
    # The last of the four numbers is the contour around it, -1 where there is none.
    holes = int((above[0, :, 3] >= 0).sum())
    return Outline(_joined(rings), len(rings) - holes, holes)


def _centres(pixels: Points) -> Points:
    if len(pixels) > 2:
        return pixels + 0.5
    # A pixel or a line has no area through its centres; along its edges it has, and is filled as the same pixels.
    first, last = pixels[0], pixels[-1]
    corners = np.array([[0.05, 0.05], [0.95, 0.05], [0.95, 0.95], [0.05, 0.95]])
    spread: Points = np.array([first, last, last, first]) + corners
    return spread


def _joined(rings: Sequence[Points]) -> Ring:
    """The rings as one, each time the one that is nearest to what there is, so that the bridges are short."""
    joined, left = rings[0], list(rings[1:])
    bridges = [_bridge(joined, ring) for ring in left]
    while left:
        # Of very many specks the order is left as it is: it would take the square of their number.
        nearest = min(range(len(left)), key=lambda number: bridges[number].length) if len(left) < _SPECKS else 0
        bridge, ring = bridges.pop(nearest), left.pop(nearest)
        joined = _inserted(joined, ring, bridge)
        if len(left) < _SPECKS:
            bridges = [min(known, _bridge(ring, other)) for known, other in zip(bridges, left, strict=True)]
    return tuple((float(x), float(y)) for x, y in joined)


@dataclass(frozen=True, order=True)
class _Bridge:
    """The nearest points of two rings, and the square of their distance."""

    length: float
    here: tuple[float, ...]
    there: tuple[float, ...]


def _bridge(first: Points, second: Points) -> _Bridge:
    step = max(1, _PAIRS // len(second))
    return min(_bridge_of_some(first[start : start + step], second) for start in range(0, len(first), step))


def _bridge_of_some(first: Points, second: Points) -> _Bridge:
    distances = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    here, there = np.unravel_index(int(distances.argmin()), distances.shape)
    return _Bridge(float(distances[here, there]), tuple(first[here].tolist()), tuple(second[there].tolist()))


def _inserted(joined: Points, ring: Points, bridge: _Bridge) -> Points:
    here = int((joined == bridge.here).all(axis=1).argmax())
    there = int((ring == bridge.there).all(axis=1).argmax())
    detour = np.concatenate([ring[there:], ring[: there + 1]])
    return np.concatenate([joined[: here + 1], detour, joined[here:]])


def _clockwise(ring: Points) -> Points:
    following = np.roll(ring, -1, axis=0)
    signed = (ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum()
    return ring if signed >= 0 else ring[::-1]
