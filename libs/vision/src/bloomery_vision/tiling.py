"""Parts of an image: a region that somebody asks for, and the overlapping tiles that cover it.

All in whole pixels of the image as it is shown.
"""

import math
from dataclasses import dataclass
from itertools import count
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Box

OVERLAP = 0.2
"""The part of a tile's side that two neighbours share at least, where nobody says how much."""
MOST_TILES = 512
"""Tiles of one image."""


@dataclass(frozen=True, slots=True)
class Window:
    """The pixels of an image from (left, top) on, `width` by `height`."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, box: Box, width: int, height: int) -> Self | None:
        """The pixels of an image of that size that a box touches, None for none."""
        left, top = max(math.floor(box.x), 0), max(math.floor(box.y), 0)
        right, bottom = min(math.ceil(box.x2), width), min(math.ceil(box.y2), height)
        return cls(left, top, right - left, bottom - top) if left < right and top < bottom else None

    @property
    def right(self) -> int:
        """The column behind its last."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The row below its last."""
        return self.top + self.height

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Its pixels of an image [H, W, 3], without a copy."""
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles of `width` x `height` pixels, of which neighbours share at least the part `overlap` of a side."""

    width: int
    height: int
    overlap: float = OVERLAP

    def count(self, region: Window) -> int:
        """How many tiles cover a region; says so without making them."""
        return _count(region.width, self.width, self.overlap) * _count(region.height, self.height, self.overlap)

    def tiles(self, region: Window) -> tuple[Window, ...]:
        """Tiles that cover a region, row by row, evenly spread; the region itself where it fits into one."""
        width, height = min(self.width, region.width), min(self.height, region.height)
        lefts = _starts(region.width, width, self.overlap)
        tops = _starts(region.height, height, self.overlap)
        return tuple(Window(region.left + left, region.top + top, width, height) for top in tops for left in lefts)

    def smallest_side(self, region: Window, most: int) -> int:
        """The smallest side, in steps of 32 pixels, of square tiles of which at most `most` cover a region."""
        sides = count(32, 32)
        return next(side for side in sides if Grid(side, side, self.overlap).count(region) <= most)


def _count(length: int, side: int, overlap: float) -> int:
    return 1 + math.ceil(max(length - side, 0) / _stride(side, overlap))


def _stride(side: int, overlap: float) -> int:
    return max(side - math.ceil(side * overlap), 1)


def _starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    """Where tiles begin; two that follow each other are at most a stride apart, as the even distance is at most one."""
    gaps = _count(length, side, overlap) - 1
    return tuple((length - side) * number // max(gaps, 1) for number in range(gaps + 1))
