"""Closed outlines: several joined into one, and those of a mask along the edges of its pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask, Polygon, Ring

Points = NDArray[np.float64]
_PAIRS = 1 << 20
"""Distances that are computed at once."""
_SPECKS = 200


def joined(rings: Sequence[Points]) -> Ring:
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


def polygon_of(mask: Mask) -> Polygon | None:
    """A mask as outlines along the edges of its pixels; None where it has no pixel.

    Each part, whose pixels touch each other at least by their corners, is one outline. A hole is joined to the outline
    around it by a bridge without width, between their nearest corners, as a polygon has no holes. So the polygon has
    the mask's area and bounds, and whoever fills it by the centres of pixels gets back each pixel.

    Raises:
        ValueError: the mask is damaged.
    """
    import cv2

    bounds = mask.bounds
    if not bounds.area:
        return None
    left, top, right, bottom = (int(edge) for edge in (bounds.x, bounds.y, bounds.x2, bounds.y2))
    pixels = mask.to_array()[top:bottom, left:right]
    count, parts = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=8)
    rings: list[list[Points]] = [[] for _ in range(count)]
    for part, ring in _edges(np.pad(pixels, 1), np.pad(parts, 1)):
        rings[part].append(ring + np.array([left, top], dtype=np.float64))
    first, *more = (joined(sorted(of_part, key=_turn, reverse=True)) for of_part in rings[1:])
    return Polygon(first, tuple(more))


def _turn(ring: Points) -> float:
    """Twice the area that is on the right of a ring: positive around a part, negative around a hole."""
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())


def _edges(pixels: NDArray[np.bool_], parts: NDArray[np.int32]) -> Iterator[tuple[int, Points]]:
    """The corners of each closed edge, pixels on its right, and the number of their part; both have a frame of 0."""
    corners = _Corners.of(pixels)
    following = corners.following()
    left = np.ones(len(following), dtype=np.bool_)
    for start in range(len(following)):
        if not left[start]:
            continue
        ring, at = [], start
        while left[at]:
            left[at] = False
            ring.append(at)
            at = following[at]
        x, y = corners.x[ring], corners.y[ring]
        around = parts[y[0] : y[0] + 2, x[0] : x[0] + 2]
        yield int(around.max()), np.stack([x, y], axis=1).astype(np.float64)


@dataclass(frozen=True)
class _Corners:
    """Where edges turn: each corner is the end of a level side and of an upright one.

    Attributes:
        x, y: int [N], of the corner between four pixels.
        level: bool [N], whether the side that goes on from it is level.
        to_left: bool [N], whether its level side lies on its left.
        to_top: bool [N], whether its upright side lies above it.
    """

    x: NDArray[np.intp]
    y: NDArray[np.intp]
    level: NDArray[np.bool_]
    to_left: NDArray[np.bool_]
    to_top: NDArray[np.bool_]

    @classmethod
    def of(cls, pixels: NDArray[np.bool_]) -> "_Corners":
        """Those between pixels that have a frame of background."""
        four = (pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, :-1], pixels[1:, 1:])
        kinds = np.sum([part.astype(np.uint8) << bit for bit, part in enumerate(four)], axis=0)
        found = [np.nonzero(kinds == kind) for kind, *_ in _TURNS]
        y, x = (np.concatenate([at[axis] for at in found]) for axis in (0, 1))
        facts = np.array([facts for _, *facts in _TURNS], dtype=np.bool_)
        level, to_left, to_top = np.repeat(facts, [len(at[0]) for at in found], axis=0).T
        return cls(x, y, level, to_left, to_top)

    def following(self) -> NDArray[np.intp]:
        """The number of the corner that comes after each."""
        across = _partners(self.y, self.x, ~self.to_left)
        down = _partners(self.x, self.y, ~self.to_top)
        return np.where(self.level, across, down)


def _partners(line: NDArray[np.intp], place: NDArray[np.intp], begins: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The other end of each corner's side along its line; where sides meet, one ends before the next begins."""
    order = np.lexsort((begins, place, line))
    partners = np.empty_like(order)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners


_NW, _NE, _SW, _SE = 1, 2, 4, 8
_TURNS = (
    # Which of the four pixels are set, and of the edge with them on its right: whether it goes on level, whether its
    # level side is on the left, whether its upright side is above.
    (_SE, True, False, False),
    (_SW, False, True, False),
    (_NW, True, True, True),
    (_NE, False, False, True),
    (_NE | _SW | _SE, False, True, True),
    (_NW | _SW | _SE, True, False, True),
    (_NW | _NE | _SE, True, True, False),
    (_NW | _NE | _SW, False, False, False),
    # Pixels that touch by their corners are one part.
    (_NW | _SE, True, False, True),
    (_NW | _SE, True, True, False),
    (_NE | _SW, False, True, True),
    (_NE | _SW, False, False, False),
)
