"""One record of a COCO file as a shape."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

from bloomery_vision.findings import Finding, error
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Ring, Shape

Record = Mapping[str, object]


def as_record(value: object) -> Record:
    """The value if it is an object, an empty one otherwise."""
    return cast("Record", value) if isinstance(value, dict) else {}


def key_of(identifier: object) -> str | None:
    """An id as text, so that 7, 7.0 and "7" are the same; None where there is none."""
    if isinstance(identifier, float) and identifier.is_integer():
        identifier = int(identifier)
    return str(identifier) if isinstance(identifier, str | int | float) else None


def parse_object(record: Record, categories: Mapping[str, str]) -> Shape | Finding:
    """The shape of an annotation, or why there is none; `categories` are the labels by `key_of` of their ids."""
    label = categories.get(key_of(record.get("category_id")) or "")
    if label is None:
        message = f"category_id {record.get('category_id')!r} is not among the file's categories"
        return error("UNKNOWN_CLASS", message, hint="add the category, or correct the id")
    try:
        geometry = _geometry(record)
    except (ValueError, OverflowError) as problem:
        return error("BAD_GEOMETRY", str(problem), hint="write bbox as [x, y, width, height], outlines as [x, y, ...]")
    return Shape(geometry, label, _attributes(record), crowd=bool(record.get("iscrowd")))


def _geometry(record: Record) -> Geometry:
    segmentation = record.get("segmentation")
    if isinstance(segmentation, dict):
        return _mask(as_record(segmentation))
    rings = _rings(segmentation) if isinstance(segmentation, list) else ()
    if rings:
        return Polygon(rings[0], rings[1:])
    if record.get("bbox") is None:
        raise ValueError("it has neither bbox nor segmentation")
    box = _numbers(record["bbox"])
    if len(box) != 4:
        raise ValueError(f"bbox has {len(box)} numbers")
    return Box(*box)


def _rings(segmentation: list[object]) -> tuple[Ring, ...]:
    rings = [_numbers(ring) for ring in segmentation]
    if any(len(ring) % 2 for ring in rings):
        raise ValueError("an outline has an odd number of numbers")
    return tuple(tuple(zip(ring[::2], ring[1::2], strict=True)) for ring in rings if ring)


def _mask(segmentation: Record) -> Mask:
    size = _numbers(segmentation.get("size"))
    if len(size) != 2 or not all(side.is_integer() and 0 < side < 1 << 16 for side in size):
        raise ValueError("the mask's size is not [height, width]")
    height, width = (int(side) for side in size)
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        return Mask(width, height, counts.encode())
    runs = _numbers(counts)
    if not all(math.isfinite(run) and run.is_integer() for run in runs):
        raise ValueError("the mask's runs are not whole numbers")
    return Mask.from_runs(width, height, [int(run) for run in runs])


def _numbers(value: object) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{value!r:.60} is not a list of numbers")  # noqa: TRY004 - bad data, not a wrong call
    if not all(isinstance(number, int | float) for number in value):
        raise ValueError(f"{value!r:.60} holds what is no number")
    return [float(number) for number in value]


def _attributes(record: Record) -> dict[str, str]:
    found = as_record(record.get("attributes"))
    return {key: str(value) for key, value in found.items() if isinstance(value, str | int | float)}
