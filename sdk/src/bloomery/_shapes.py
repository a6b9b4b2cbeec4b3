"""Shapes beyond their messages: run lengths, boxes around areas, and the JSON that people edit."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from bloomery.vision import v1 as vision

_PAIRS = 20_000
"""Distances that are computed for a bridge, at most, where outlines have fewer points."""


def run_lengths(counts: bytes) -> Iterator[int]:
    """The runs of COCO's compressed form, zeros first.

    Each number is in base 32, low digits first, from the fourth on as a difference to the run two before. Source: the
    mask API of the COCO data set (maskApi.c, rleFrString).
    """
    before: list[int] = []
    value = shift = 0
    for char in counts:
        digit = char - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:
            continue
        if digit & 0x10:
            value -= 1 << shift
        if len(before) > 2:
            value += before[-2]
        before.append(value)
        yield value
        value = shift = 0


def bounds(shape: vision.Shape) -> vision.Box | None:
    """The smallest box around a shape, in pixels; None for one that has no place, or covers nothing."""
    match shape.WhichOneof("geometry"):
        case "box":
            return shape.box
        case "polygon":
            xs = [x for ring in shape.polygon.rings for x in ring.coordinates[::2]]
            ys = [y for ring in shape.polygon.rings for y in ring.coordinates[1::2]]
            return _box(min(xs), min(ys), max(xs), max(ys)) if xs else None
        case "mask":
            return _mask_bounds(shape.mask)
        case _:
            return None


def _mask_bounds(mask: vision.Mask) -> vision.Box | None:
    left, top, right, bottom = mask.width, mask.height, 0, 0
    at = 0
    for index, run in enumerate(run_lengths(mask.counts)):
        if index % 2 and run:
            (first, upper), (last, lower) = divmod(at, mask.height), divmod(at + run - 1, mask.height)
            # A run that goes on in the next column has the whole height of the two.
            upper, lower = (upper, lower) if first == last else (0, mask.height - 1)
            left, top, right, bottom = min(left, first), min(top, upper), max(right, last + 1), max(bottom, lower + 1)
        at += run
    return _box(left, top, right, bottom) if right else None


def single_ring(polygon: vision.Polygon) -> list[tuple[float, float]]:
    """The points of all outlines as one closed outline, joined by bridges without width; empty for none."""
    rings = [list(zip(ring.coordinates[::2], ring.coordinates[1::2], strict=True)) for ring in polygon.rings]
    joined = rings[0] if rings else []
    for ring in rings[1:]:
        here, there = _bridge(joined, ring)
        joined = joined[: here + 1] + ring[there:] + ring[: there + 1] + joined[here:]
    return joined


def _bridge(first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """Places of two points near each other; of many points only some are looked at, as a bridge need not be short."""
    step = max(1, len(first) * len(second) // _PAIRS)
    pairs = product(range(0, len(first), step), range(len(second)))
    return min(pairs, key=lambda pair: math.dist(first[pair[0]], second[pair[1]]))


def _box(left: float, top: float, right: float, bottom: float) -> vision.Box:
    return vision.Box(x=left, y=top, width=right - left, height=bottom - top)


def shape_json(shape: vision.Shape) -> dict[str, Any]:
    """A shape in protobuf's JSON form, but a mask's `counts` as COCO's text, and `bounds` beside every area."""
    found = MessageToDict(shape)
    if shape.HasField("mask"):
        found["mask"]["counts"] = shape.mask.counts.decode("ascii")
    if shape.WhichOneof("geometry") in ("polygon", "mask") and (around := bounds(shape)):
        # Zeros are written too: whoever reads it wants four numbers.
        found["bounds"] = {side: getattr(around, side) for side in ("x", "y", "width", "height")}
    return found


def shape_from_json(found: object) -> vision.Shape:
    """The shape that `shape_json` wrote, or people.

    Raises:
        ValueError: it is no shape; says why.
    """
    if not isinstance(found, Mapping):
        raise ValueError('must be an object such as {"label": "rbc", "box": {...}}')  # noqa: TRY004 - a value of a file
    fields = {name: value for name, value in found.items() if name != "bounds"}
    counts = None
    if isinstance(mask := fields.get("mask"), Mapping):
        counts = mask.get("counts")
        fields["mask"] = {name: value for name, value in mask.items() if name != "counts"}
    try:
        shape = ParseDict(fields, vision.Shape())
    except ParseError as error:
        raise ValueError(str(error)) from None
    if counts is not None:
        if not isinstance(counts, str) or not counts.isascii():
            raise ValueError("mask.counts must be COCO's text")
        shape.mask.counts = counts.encode()
    return shape
