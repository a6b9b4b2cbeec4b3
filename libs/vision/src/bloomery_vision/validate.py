"""Whether a shape makes sense on its image."""

import math
from collections import deque
from collections.abc import Iterator

import shapely  # type: ignore[import-untyped]

from bloomery_vision.findings import Finding, Severity, error, warning
from bloomery_vision.geometry import Box, Geometry, Mask, Point, Polygon, Ring, Shape

OUTSIDE_TOLERANCE = 0.5
"""Pixels that a shape may stick out by without a word: the rounding of whoever wrote it."""

_REDRAW = "delete it or draw it again"


def validate_shape(shape: Shape, width: int | None, height: int | None, path: str = "") -> list[Finding]:
    """Everything that is wrong with a shape on an image of `width` x `height` pixels, not only the first thing.

    Where the size is not known, what depends on it is not looked at. The codes are NOT_FINITE, ZERO_AREA,
    TOO_FEW_POINTS, OUTSIDE_IMAGE, MASK_SIZE, BAD_MASK and EMPTY_LABEL for errors, PARTLY_OUTSIDE, ONE_PIXEL and
    SELF_INTERSECTION for warnings.
    """
    if width is not None and height is not None and is_plain(shape, width, height):
        return []
    unlabelled = not shape.label.strip()
    label = [error("EMPTY_LABEL", "it has no label", hint="choose a label", path=path)] if unlabelled else []
    found: list[Finding] = []
    match shape.geometry:
        case Box() as box:
            found += _box(box, path)
        case Polygon() as polygon:
            found += _polygon(polygon, path)
        case Mask() as mask:
            found += _mask(mask, width, height, path)
    if width is None or height is None or isinstance(shape.geometry, Mask) or not usable(found):
        return label + found
    return label + found + list(_place(shape.geometry, width, height, path))


def is_plain(shape: Shape, width: int, height: int) -> bool:
    """Whether it is a box about which there is nothing to say, as almost all are: what this says is said faster."""
    box = shape.geometry
    if not isinstance(box, Box):
        return False
    x, y, wide, high = box.x, box.y, box.width, box.height
    placed = x >= 0 and y >= 0 and wide > 0 and high > 0 and x + wide <= width and y + high <= height
    return placed and (wide > 1 or high > 1) and bool(shape.label.strip())


def sticks_out(geometry: Geometry, width: int, height: int) -> bool:
    """Whether a geometry reaches beyond its image by more than the rounding of whoever wrote it."""
    box = geometry.bounds
    return box is not None and max(-box.x, -box.y, box.x2 - width, box.y2 - height) > OUTSIDE_TOLERANCE


def usable(findings: list[Finding]) -> bool:
    """Whether none of the findings is an error."""
    return all(finding.severity is not Severity.ERROR for finding in findings)


def _box(box: Box, path: str) -> list[Finding]:
    if not all(map(math.isfinite, (box.x, box.y, box.width, box.height))):
        stated = f"its corner is {box.x:g}, {box.y:g}, its width {box.width:g}, its height {box.height:g}"
        return [error("NOT_FINITE", stated, hint=_REDRAW, path=path)]
    if box.width <= 0 or box.height <= 0:
        size = f"{box.width:g} x {box.height:g}"
        return [error("ZERO_AREA", f"it is {size} pixels", hint=_REDRAW, path=path)]
    if box.width <= 1 and box.height <= 1:
        message = f"it covers a single pixel at ({box.x:g}, {box.y:g})"
        return [warning("ONE_PIXEL", message, hint="a stray click? delete it", path=path)]
    return []


def _polygon(polygon: Polygon, path: str) -> list[Finding]:
    if not all(math.isfinite(value) for ring in polygon.rings for point in ring for value in point):
        return [error("NOT_FINITE", "a coordinate is not a number", hint=_REDRAW, path=path)]
    if any(len(set(ring)) < 3 for ring in polygon.rings):
        return [error("TOO_FEW_POINTS", "an outline has fewer than three different points", hint=_REDRAW, path=path)]
    if polygon.area <= 0:
        return [error("ZERO_AREA", "its points lie on one line", hint=_REDRAW, path=path)]
    if not all(is_simple(ring) or is_simple(_without_tips(ring)) for ring in polygon.rings):
        hint = "move the points so that it does not, unless it joins the parts of one object"
        return [warning("SELF_INTERSECTION", "its outline crosses or touches itself", hint=hint, path=path)]
    return []


def is_simple(ring: Ring) -> bool:
    """Whether an outline neither crosses nor touches itself."""
    return bool(shapely.is_valid(shapely.Polygon(ring)))


def _without_tips(ring: Ring) -> Ring:
    """The outline without ways there and back, as one of a mask's pixels has them round a tip of one pixel's width."""
    kept: deque[Point] = deque()
    for point in ring:
        if len(kept) > 1 and kept[-2] == point:
            kept.pop()
        elif not kept or kept[-1] != point:
            kept.append(point)
    # The first point may lie on such a way.
    while len(kept) > 3 and (kept[0] == kept[-1] or kept[0] == kept[-2] or kept[1] == kept[-1]):
        if kept[1] == kept[-1]:
            kept.popleft()
        else:
            kept.pop()
    return tuple(kept) if len(kept) > 2 else ring


def _mask(mask: Mask, width: int | None, height: int | None, path: str) -> list[Finding]:
    if width is not None and height is not None and (mask.width, mask.height) != (width, height):
        message = f"the mask is {mask.width} x {mask.height} pixels, the image {width} x {height}"
        return [error("MASK_SIZE", message, hint="a mask has its image's size", path=path)]
    try:
        runs = mask.runs()
    except ValueError as problem:
        return [error("BAD_MASK", str(problem), hint="write it as COCO's run-length encoding", path=path)]
    if not any(runs[1::2]):
        return [error("ZERO_AREA", "it has no pixels", hint=_REDRAW, path=path)]
    return []


def _place(geometry: Geometry, width: int, height: int, path: str) -> Iterator[Finding]:
    box = geometry.bounds
    if box is None:
        return
    where = f"it spans x {box.x:g} to {box.x2:g}, y {box.y:g} to {box.y2:g} on an image of {width} x {height}"
    if geometry.inside(width, height) is None:
        yield error("OUTSIDE_IMAGE", where, hint=_REDRAW, path=path)
    elif sticks_out(geometry, width, height):
        yield warning("PARTLY_OUTSIDE", where, hint="what sticks out is cut off", path=path)
