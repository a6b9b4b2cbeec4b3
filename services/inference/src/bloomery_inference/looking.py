"""What of an image a prediction looks at: a region, and its tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_vision.geometry import Box
from bloomery_vision.tiling import MOST_TILES, OVERLAP, Grid, Window

if TYPE_CHECKING:
    from bloomery.inference.v1 import PredictRequest
    from bloomery_inference.model import InputSpec, ModelVersion
    from bloomery_inference.question import Options

_SIDES = range(32, (1 << 16) + 1)
_MOST_OVERLAP = 0.9


@dataclass(frozen=True)
class Tiling:
    """Tiles of `size` x `size` pixels, 0 for the model's input, that share at least the part `overlap` of a side."""

    size: int
    overlap: float


@dataclass(frozen=True)
class Look:
    """The region of an image that is looked at, and the tiles that cover it: one where all is seen at once."""

    region: Window
    tiles: tuple[Window, ...]


def region_of(request: PredictRequest, violations: Violations) -> Box | None:
    """The rectangle that a request names."""
    if not request.HasField("region"):
        return None
    asked = request.region
    box = Box(asked.x, asked.y, asked.width, asked.height)
    # Finite numbers may add up to more than one can hold.
    if not all(map(math.isfinite, (box.x, box.y, box.x2, box.y2))):
        violations.add("region", "must be finite numbers")
    elif box.width <= 0 or box.height <= 0:
        violations.add("region", "width and height must be greater than 0")
    return box


def tiling_of(request: PredictRequest, violations: Violations) -> Tiling | None:
    """The tiles that a request asks for."""
    if not request.HasField("tiling"):
        return None
    asked = request.tiling
    overlap = asked.overlap if asked.HasField("overlap") else OVERLAP
    if asked.size and asked.size not in _SIDES:
        text = f"must be {_SIDES[0]} to {_SIDES[-1]} pixels, or 0 for the size of the model's input"
        violations.add("tiling.size", text)
    if not 0 <= overlap <= _MOST_OVERLAP:
        violations.add("tiling.overlap", f"must be between 0 and {_MOST_OVERLAP}")
    return Tiling(asked.size, overlap)


def check_tiling(version: ModelVersion, options: Options) -> None:
    """Whether such a model can look at tiles. Raise InvalidArgument."""
    if options.tiling and version.content.task == "classify":
        text = "the model classifies: it sees an image as a whole; leave it out, or name a region"
        raise InvalidArgument([FieldViolation("tiling", text)])


def look_at(width: int, height: int, spec: InputSpec, options: Options) -> Look:
    """What to look at of an image of that size. Raise InvalidArgument REGION_OUTSIDE, TOO_MANY_TILES."""
    region = Window(0, 0, width, height)
    if options.region:
        region = _region(options.region, width, height)
    if options.tiling is None:
        return Look(region, (region,))
    side = options.tiling.size
    grid = Grid(side or spec.width, side or spec.height, options.tiling.overlap)
    if (count := grid.count(region)) > MOST_TILES:
        raise _too_many(count, grid, region)
    return Look(region, grid.tiles(region))


def _region(box: Box, width: int, height: int) -> Window:
    if found := Window.around(box, width, height):
        return found
    asked = f"{box.x:g},{box.y:g},{box.width:g},{box.height:g}"
    text = f"nothing of the image, which has {width} x {height} pixels, lies in the region {asked}"
    raise InvalidArgument([FieldViolation("region", text)], reason="REGION_OUTSIDE")


def _too_many(count: int, grid: Grid, region: Window) -> InvalidArgument:
    side = grid.smallest_side(region, MOST_TILES)
    text = (
        f"{region.width} x {region.height} pixels take {count} tiles of {grid.width} x {grid.height}, at most "
        f"{MOST_TILES} are looked at; use tiles of {side} or more, less overlap, or a region"
    )
    return InvalidArgument([FieldViolation("tiling", text)], reason="TOO_MANY_TILES")
