"""Whether two answers to one image agree, and what a count of those that do not says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Box, Found, Mask, Tag, iou_matrix

OVERLAP = 0.5
"""Intersection over union from which two shapes of one class are the same object."""
_NORMAL = 1.959964
"""The 97.5 % point of the normal distribution: an interval of 95 %."""
_TOLD = 5


def wilson(count: int, among: int) -> tuple[float, float, float]:
    """A share, and its 95 % interval (Wilson 1927, without a correction for continuity); 0, 0 and 1 among none."""
    if not among:
        return 0.0, 0.0, 1.0
    share, squared = count / among, _NORMAL**2
    middle = (share + squared / (2 * among)) / (1 + squared / among)
    half = _NORMAL / (1 + squared / among) * math.sqrt(share * (1 - share) / among + squared / (4 * among**2))
    # At the ends the interval reaches them, but for rounding.
    return share, 0.0 if not count else middle - half, 1.0 if count == among else middle + half


def difference(first: Sequence[Found], other: Sequence[Found], names: tuple[str, str], size: tuple[int, int]) -> str:
    """In what two answers to one image differ, for people; "" where they agree. `names` are those who gave them.

    Shapes are matched from the best score on, each with the one of its class that overlaps it most, by at least half
    of their union: boxes as such, masks and outlines by their pixels on an image of (width, height) `size`. Of tags the
    best one counts.
    """
    if any(isinstance(one.geometry, Tag) for one in (*first, *other)):
        best = [max(answer, key=lambda one: one.score).label if answer else "nothing" for answer in (first, other)]
        return "" if best[0] == best[1] else f"{names[0]} says {best[0]}, {names[1]} {best[1]}"
    overlaps = _overlaps(first, other, size)
    left = list(range(len(other)))
    alone: list[tuple[Found, str]] = []
    for place in sorted(range(len(first)), key=lambda place: -first[place].score):
        one = first[place]
        same = [there for there in left if other[there].label == one.label and overlaps[place, there] >= OVERLAP]
        if same:
            left.remove(max(same, key=lambda there: overlaps[place, there]))
        else:
            alone.append((one, names[0]))
    alone += [(other[there], names[1]) for there in left]
    told = [_told(one, name) for one, name in alone[:_TOLD]]
    more = [f"and {len(alone) - _TOLD} more"] if len(alone) > _TOLD else []
    return "; ".join(told + more)


def _told(one: Found, name: str) -> str:
    box = _box(one)
    return f"{one.label} at {box.x:.0f}, {box.y:.0f}: only {name}"


def _overlaps(first: Sequence[Found], other: Sequence[Found], size: tuple[int, int]) -> NDArray[np.float64]:
    """Intersection over union of each with each, float64 [first, other]."""
    if not (first and other):
        return np.zeros((len(first), len(other)))
    if all(isinstance(one.geometry, Box) for one in (*first, *other)):
        sides = [_corners(answer) for answer in (first, other)]
        return np.asarray(iou_matrix(*sides), dtype=np.float64)
    # Loaded for segmenters only.
    from bloomery_vision.overlaps import overlaps_of_masks

    return overlaps_of_masks(*([_mask(one, size) for one in answer] for answer in (first, other)))


def _corners(answer: Sequence[Found]) -> NDArray[np.float64]:
    return np.array([[box.x, box.y, box.x2, box.y2] for box in map(_box, answer)], dtype=np.float64)


def _mask(one: Found, size: tuple[int, int]) -> Mask:
    from bloomery_vision.rasterize import rasterize

    geometry = one.geometry
    assert not isinstance(geometry, Tag)
    return geometry if isinstance(geometry, Mask) else rasterize(geometry, size, scale=(1.0, 1.0))


def _box(one: Found) -> Box:
    box = one.geometry.bounds
    assert box is not None
    return box
