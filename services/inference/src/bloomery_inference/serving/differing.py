"""Whether two answers to one image agree, and what a count of those that do not says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bloomery_vision.geometry import Box, Found, Tag, iou

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


def difference(first: Sequence[Found], other: Sequence[Found], names: tuple[str, str]) -> str:
    """In what two answers to one image differ, for people; "" where they agree. `names` are those who gave them.

    Shapes are matched from the best score on, each with the one of its class that overlaps it most, by at least half
    of their union; masks and outlines by their boxes. Of tags the best one counts.
    """
    if any(isinstance(one.geometry, Tag) for one in (*first, *other)):
        best = [max(answer, key=lambda one: one.score).label if answer else "nothing" for answer in (first, other)]
        return "" if best[0] == best[1] else f"{names[0]} says {best[0]}, {names[1]} {best[1]}"
    left = list(other)
    alone: list[tuple[Found, str]] = []
    for one in sorted(first, key=lambda found: -found.score):
        same = [found for found in left if found.label == one.label and _overlap(one, found) >= OVERLAP]
        if same:
            left.remove(max(same, key=lambda found: _overlap(one, found)))
        else:
            alone.append((one, names[0]))
    alone += [(one, names[1]) for one in left]
    told = [_told(one, name) for one, name in alone[:_TOLD]]
    more = [f"and {len(alone) - _TOLD} more"] if len(alone) > _TOLD else []
    return "; ".join(told + more)


def _told(one: Found, name: str) -> str:
    box = _box(one)
    return f"{one.label} at {box.x:.0f}, {box.y:.0f}: only {name}"


def _overlap(one: Found, other: Found) -> float:
    return iou(_box(one), _box(other))


def _box(one: Found) -> Box:
    box = one.geometry.bounds
    assert box is not None
    return box
