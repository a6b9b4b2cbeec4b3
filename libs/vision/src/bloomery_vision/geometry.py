"""Shapes on an image, in pixels of the oriented original (see the package).

Every kind of geometry answers the same questions, written here once for each: its `bounds` and its `area`, the `rings`
that outline it where there are any, what of it lies on an image (`inside`), and how many bytes it takes (`weight`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from bloomery_vision import rle

Point = tuple[float, float]
Ring = tuple[Point, ...]
_NUMBER_BYTES = 8
T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _value(cls: type[T]) -> type[T]:
    """A frozen dataclass for whoever checks types; one that is frozen when it runs takes four times as long to make."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@_value
class Box:
    """An axis-aligned rectangle; (x, y) is its top-left corner."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def from_corners(cls, x1: float, y1: float, x2: float, y2: float) -> Self:
        """The box between its top-left and bottom-right corners."""
        return cls(x1, y1, x2 - x1, y2 - y1)

    @property
    def x2(self) -> float:
        """The right edge."""
        return self.x + self.width

    @property
    def y2(self) -> float:
        """The bottom edge."""
        return self.y + self.height

    @property
    def area(self) -> float:
        """Square pixels; negative sides count as none."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def bounds(self) -> Self:
        """Itself."""
        return self

    @property
    def rings(self) -> tuple[Ring, ...]:
        """Its four corners."""
        return (((self.x, self.y), (self.x2, self.y), (self.x2, self.y2), (self.x, self.y2)),)

    @property
    def weight(self) -> int:
        """Bytes of its numbers."""
        return 4 * _NUMBER_BYTES

    def clip(self, width: float, height: float) -> Self:
        """The part inside an image of that size, with no area where there is none; itself where nothing sticks out."""
        if 0 <= self.x <= self.x2 <= width and 0 <= self.y <= self.y2 <= height:
            return self
        x1, y1 = _clamp(self.x, width), _clamp(self.y, height)
        return self.from_corners(x1, y1, max(x1, _clamp(self.x2, width)), max(y1, _clamp(self.y2, height)))

    def inside(self, width: int, height: int) -> Self | None:
        """What of it lies on an image of that size; itself where nothing sticks out, None for nothing."""
        cut = self.clip(width, height)
        return self if cut == self else cut if cut.area > 0 else None


@_value
class Polygon:
    """The outline of an object.

    `parts` are further outlines of the same object, where something in front of it cuts it in pieces (as in COCO). A
    polygon has no holes: what has is a `Mask`.
    """

    points: Ring
    parts: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """All outlines, each closed implicitly."""
        return (self.points, *self.parts)

    @property
    def area(self) -> float:
        """Square pixels, the sum over the outlines (shoelace formula)."""
        return sum(_shoelace(ring) for ring in self.rings)

    @property
    def bounds(self) -> Box:
        """The smallest box around all outlines."""
        xs = [x for ring in self.rings for x, _ in ring]
        ys = [y for ring in self.rings for _, y in ring]
        return Box.from_corners(min(xs), min(ys), max(xs), max(ys))

    @property
    def weight(self) -> int:
        """Bytes of its numbers."""
        return 2 * _NUMBER_BYTES * sum(map(len, self.rings))

    def inside(self, width: int, height: int) -> "Polygon | None":
        """What of it lies on an image of that size; itself where nothing sticks out, None for nothing.

        Of an outline that reaches out several times, the parts stay one outline, joined along the edge. Outlines of
        which no area is left go.
        """
        box = self.bounds
        if box.clip(width, height) == box:
            return self
        rings = [ring for whole in self.rings if _shoelace(ring := _on_image(whole, width, height)) > 0]
        return Polygon(rings[0], tuple(rings[1:])) if rings else None


@_value
class Mask:
    """The pixels of an object in an image of `width` x `height`; `counts` is COCO's compressed run-length encoding."""

    width: int
    height: int
    counts: bytes

    @classmethod
    def from_array(cls, array: NDArray[np.bool_]) -> Self:
        """The mask of a boolean array of shape [height, width]."""
        height, width = array.shape
        return cls(width, height, rle.encode(array))

    @classmethod
    def from_runs(cls, width: int, height: int, runs: Sequence[int]) -> Self:
        """The mask of COCO's uncompressed runs. Raises ValueError where they do not fit the size."""
        return cls(width, height, rle.compress(runs, width=width, height=height))

    def runs(self) -> list[int]:
        """Alternating run lengths, background first, column by column. Raises ValueError where `counts` is damaged."""
        return rle.runs_of(self.counts, width=self.width, height=self.height)

    def to_array(self) -> NDArray[np.bool_]:
        """The boolean array of shape [height, width]. Raises ValueError where `counts` is damaged."""
        return rle.decode(self.runs(), width=self.width, height=self.height)

    @property
    def area(self) -> float:
        """The number of pixels set."""
        return float(sum(self.runs()[1::2]))

    @property
    def bounds(self) -> Box:
        """The smallest box around all pixels set, without area where there are none."""
        return Box(*rle.bounds(self.counts, width=self.width, height=self.height))

    @property
    def rings(self) -> tuple[Ring, ...]:
        """None: it is made of pixels."""
        return ()

    @property
    def weight(self) -> int:
        """Bytes of its runs."""
        return len(self.counts)

    def inside(self, width: int, height: int) -> Self:  # noqa: ARG002 - as the other kinds have it
        """Itself: it has the size of its image."""
        return self


@_value
class Tag:
    """The whole image, so it has no place in it."""

    @property
    def bounds(self) -> None:
        """None."""
        return

    @property
    def area(self) -> float:
        """None, as 0."""
        return 0.0

    @property
    def rings(self) -> tuple[Ring, ...]:
        """None."""
        return ()

    @property
    def weight(self) -> int:
        """Nothing."""
        return 0

    def inside(self, width: int, height: int) -> Self:  # noqa: ARG002 - as the other kinds have it
        """Itself."""
        return self


Geometry = Box | Polygon | Mask | Tag


@_value
class Shape:
    """One object on one image.

    `crowd` marks a region of many objects that nobody outlined one by one: training and evaluation ignore it. Shapes
    with one `group_id` belong together; shapes with one `track_id` are the same object in several frames. `source_id`
    is its id in the label file that it came from, empty for none.
    """

    geometry: Geometry
    label: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    crowd: bool = False
    group_id: int | None = None
    track_id: int | None = None
    source_id: str = ""


@_value
class Found:
    """One object that a model sees on one image; `score` is 0 to 1."""

    label: str
    score: float
    geometry: Geometry


def _on_image(ring: Ring, width: int, height: int) -> Ring:
    """The part of an outline on the image, side after side (Sutherland and Hodgman)."""
    for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        ring = tuple(_beside(ring, axis, limit, sign))
    # Rounding may leave a crossing a hair outside of a side that was cut before.
    return tuple((_clamp(x, width), _clamp(y, height)) for x, y in ring)


def _beside(ring: Ring, axis: int, limit: float, sign: int) -> Iterator[Point]:
    """The part of an outline on one side of a line across `axis` at `limit`."""
    for before, point in zip(ring[-1:] + ring[:-1], ring, strict=True):
        here, there = sign * (point[axis] - limit), sign * (before[axis] - limit)
        # Not by their product, which may be too small to be a number.
        if here < 0 < there or there < 0 < here:
            yield _crossing(before, point, axis, limit)
        if here >= 0:
            yield point


def _crossing(before: Point, point: Point, axis: int, limit: float) -> Point:
    share = (limit - before[axis]) / (point[axis] - before[axis])
    other = before[1 - axis] + share * (point[1 - axis] - before[1 - axis])
    return (limit, other) if axis == 0 else (other, limit)


def iou(first: Box, second: Box) -> float:
    """Intersection over union, 0 where both have no area."""
    width = min(first.x2, second.x2) - max(first.x, second.x)
    height = min(first.y2, second.y2) - max(first.y, second.y)
    shared = max(width, 0.0) * max(height, 0.0)
    union = first.area + second.area - shared
    return shared / union if union > 0 else 0.0


def iou_matrix(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Intersection over union of each of N boxes with each of M.

    Args:
        first: [N, 4], corners x1, y1, x2, y2.
        second: [M, 4], the same.

    Returns:
        [N, M], 0 where both have no area.
    """
    corner = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    shared = corner.clip(min=0).prod(axis=2)
    union = _areas(first)[:, None] + _areas(second)[None, :] - shared
    overlap: NDArray[np.floating] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def _areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    sides: NDArray[np.floating] = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
    return sides[:, 0] * sides[:, 1]


def _clamp(value: float, upper: float) -> float:
    return min(max(value, 0.0), float(upper))


def _shoelace(ring: Ring) -> float:
    following = (*ring[1:], *ring[:1])
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, following, strict=True))) / 2
