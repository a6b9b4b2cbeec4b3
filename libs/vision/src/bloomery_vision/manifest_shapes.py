"""Shapes as records of a manifest: plain values with the same fields whatever the geometry."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Ring, Shape, Tag

_FIELDS = (
    pa.field("class", pa.int32(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("box", pa.list_(pa.float64())),
    pa.field("rings", pa.list_(pa.list_(pa.float64()))),
    pa.field("mask_width", pa.int32()),
    pa.field("mask_height", pa.int32()),
    pa.field("mask_counts", pa.binary()),
    pa.field("crowd", pa.bool_(), nullable=False),
    pa.field("group_id", pa.int64()),
    pa.field("track_id", pa.int64()),
    pa.field("attributes", pa.map_(pa.string(), pa.string()), nullable=False),
)
SHAPE_TYPE = pa.struct((*_FIELDS, pa.field("source_id", pa.string())))
"""`kind` is "box" (`box`: x, y, width, height), "polygon" (`rings`: x0, y0, x1, y1, ...), "mask" or "tag"."""
FIRST_SHAPE_TYPE = pa.struct(_FIELDS)
"""That of the first format."""

Record = Mapping[str, object]


def to_record(shape: Shape, class_value: int | str) -> Record:
    """The record of a shape whose class is written as `class_value`; attributes in the order of their keys."""
    record: dict[str, object] = {
        "class": class_value,
        "crowd": shape.crowd,
        "group_id": shape.group_id,
        "track_id": shape.track_id,
        "attributes": sorted(shape.attributes.items()),
    }
    # Left out where there is none, so that shapes without one have the hash that they had before there were any.
    own = {"source_id": shape.source_id} if shape.source_id else {}
    return record | _geometry_fields(shape.geometry) | own


def from_column(column: pa.ListArray, classes: Sequence[str]) -> Iterator[tuple[Shape, ...]]:
    """The shapes of each image of a column of lists of records, whose classes are numbers in `classes`.

    Field by field: to make a dictionary of each record takes longer than the shapes do.
    """
    records = column.flatten()
    there = {field.name for field in records.type}
    fields = [_values(records.field(field.name)) if field.name in there else repeat(None) for field in SHAPE_TYPE]
    shapes = (_shape(values, classes) for values in zip(*fields, strict=False))
    for count in pc.list_value_length(column).to_pylist():
        yield tuple(islice(shapes, count))


def _values(field: pa.Array) -> Iterable[Any]:
    """A field of each record. Most have none, or nothing in it: to say so of each takes longer than all the others."""
    if field.null_count == len(field):
        return repeat(None)
    if pa.types.is_map(field.type) and not len(field.keys):
        return repeat(())
    values: list[Any] = field.to_pylist()
    return values


def _shape(values: tuple[Any, ...], classes: Sequence[str]) -> Shape:
    number, *geometry, crowd, group_id, track_id, attributes, source_id = values
    return Shape(
        _geometry(*geometry),
        classes[number],
        attributes=dict(attributes),
        crowd=crowd,
        group_id=group_id,
        track_id=track_id,
        source_id=source_id or "",
    )


def _geometry_fields(geometry: Geometry) -> dict[str, object]:
    match geometry:
        case Box(x, y, width, height):
            return {"kind": "box", "box": _floats((x, y, width, height))}
        case Polygon():
            return {"kind": "polygon", "rings": [_floats([c for p in ring for c in p]) for ring in geometry.rings]}
        case Mask(width, height, counts):
            return {"kind": "mask", "mask_width": width, "mask_height": height, "mask_counts": counts}
        case Tag():
            return {"kind": "tag"}


def _geometry(kind: str, box: Any, rings: Any, width: Any, height: Any, counts: Any) -> Geometry:
    match kind:
        case "box":
            return Box(*box)
        case "polygon":
            first, *parts = map(_ring, rings)
            return Polygon(first, tuple(parts))
        case "mask":
            return Mask(width, height, counts)
        case "tag":
            return Tag()
        case _:
            raise ValueError(f"{kind!r} is not a kind of geometry")


def _ring(numbers: Sequence[float]) -> Ring:
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _floats(values: Sequence[float]) -> list[float]:
    # Adding 0.0 makes one zero of -0.0 and 0.0, so that equal shapes have equal hashes.
    return [float(value) + 0.0 for value in values]
