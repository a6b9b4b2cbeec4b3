"""One record of a COCO file as a shape."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ParamSpec, cast

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.attributes import as_text
from bloomery_vision.formats.cleaning import Outlined, Parsed
from bloomery_vision.formats.voc_xml import rotated
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Ring, Shape

P = ParamSpec("P")
Record = Mapping[str, object]
Kept = tuple[object, object, Record | None]
"""What is worth keeping of an annotation: its category, its box, and the rest, None where that says nothing."""

_READ = frozenset({"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "attributes", "score"})
_SAID_AGAIN = frozenset({"category_name", "color", "height", "isbbox", "num_keypoints", "width"})
KNOWN_KEYS = _READ | _SAID_AGAIN
"""The keys of annotations that are read, or say again what others say, as those of COCO Annotator do."""

_NUMBERS = frozenset({int, float, bool})
_NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)
_CROWD = {0: False, 1: True, "0": False, "1": True}
_SIDES = ("x", "y", "width", "height")
_HINT = "write bbox as [x, y, width, height], outlines as [x, y, ...]"


def as_record(value: object) -> Record:
    """The value if it is an object, an empty one otherwise."""
    return cast("Record", value) if isinstance(value, dict) else {}


def as_records(values: Iterable[object]) -> list[Record]:
    """The values, and an empty object for each that is none."""
    return [value if isinstance(value, dict) else {} for value in values]


def worth_keeping(record: Record) -> Kept:
    """What `parse_object` looks at, without what says nothing."""
    rest: dict[str, object] = {}
    if (outline := record.get("segmentation")) is not None and outline != []:
        rest["segmentation"] = outline
    if (crowd := record.get("iscrowd", 0)) != 0:
        rest["iscrowd"] = crowd
    if attributes := _all_attributes(record):
        rest["attributes"] = attributes
    if (score := record.get("score")) is not None:
        rest["score"] = score
    return record.get("category_id"), record.get("bbox"), rest or None


def is_attribute(key: str, value: object) -> bool:
    """Whether what stands under a further key of an annotation is an attribute, as FiftyOne writes them.

    A rotation is none: among attributes it is CVAT's, in degrees, and elsewhere it may mean anything.
    """
    says = isinstance(value, str | int | float) and value != "" and (key, value) != ("ignore", 0)
    return says and key != "rotation"


def not_kept(record: Record) -> Iterator[str]:
    """Where the attributes and the score of an annotation say something that is not kept, as no attribute can be it."""
    attributes = record.get("attributes")
    if isinstance(attributes, dict):
        yield from (f"attributes/{key}" for key, value in attributes.items() if not _can_be_kept(key, value))
    elif attributes:
        yield "attributes"
    if (score := record.get("score")) and not isinstance(score, int | float):
        yield "score"


def _can_be_kept(key: str, value: object) -> bool:
    if key == "rotation":
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value is not None


def _all_attributes(record: Record) -> object:
    attributes = record.get("attributes")
    if record.keys() <= KNOWN_KEYS:
        return attributes
    further = {key: value for key, value in record.items() if key not in KNOWN_KEYS and is_attribute(key, value)}
    return {**further, **as_record(attributes)} if further else attributes


def key_of(identifier: object) -> str | None:
    """An id as text, so that 7, 7.0 and "7" are the same; None where there is none."""
    if type(identifier) is int:
        return str(identifier)
    if isinstance(identifier, float) and identifier.is_integer():
        identifier = int(identifier)
    return str(identifier) if isinstance(identifier, str | int | float) else None


def parse_object(kept: Kept, categories: Mapping[str, str]) -> Parsed:
    """The shape of an annotation, or why there is none; `categories` are the labels by `key_of` of their ids."""
    category, bbox, rest = kept
    label = categories.get(key_of(category) or "")
    if label is None:
        message = f"category_id {_shown(category)} is not among the file's categories"
        return error("UNKNOWN_CLASS", message, hint="add the category, or correct the id")
    box = _attempt(_box, bbox)
    if rest is None and isinstance(box, Box):
        return Shape(box, label, {})
    rest = rest or {}
    crowd = rest.get("iscrowd", 0)
    if not isinstance(crowd, int | float | str) or crowd not in _CROWD:
        return error("BAD_RECORD", f"iscrowd is {_shown(crowd)}", hint="iscrowd is 0 or 1")
    attributes, is_crowd = _attributes(rest), _CROWD[crowd]
    outline = _attempt(_outline, rest, bbox)
    if box is not None and outline is not None:
        found = _made(outline, label, attributes, crowd=is_crowd)
        return found if isinstance(box, Finding) else Outlined(found, Shape(box, label, attributes, is_crowd))
    only = box or outline
    return _made(only, label, attributes, crowd=is_crowd) if only else _nothing()


def _shown(value: object) -> str:
    """The beginning of a value as it stands in the file."""
    return f"{json.dumps(value, ensure_ascii=False):.60}"


def _nothing() -> Finding:
    return error("BAD_GEOMETRY", "it has neither bbox nor segmentation", hint=_HINT)


def _attempt(read: Callable[P, Geometry | None], *values: P.args, **options: P.kwargs) -> Geometry | Finding | None:
    try:
        return read(*values, **options)
    except (ValueError, OverflowError) as problem:
        return error("BAD_GEOMETRY", str(problem), hint=_HINT)


def _made(found: Geometry | Finding, label: str, attributes: dict[str, str], *, crowd: bool) -> Shape | Finding:
    return found if isinstance(found, Finding) else Shape(found, label, attributes, crowd)


def _box(bbox: object) -> Box | None:
    if bbox is None:
        return None
    numbers = _numbers([bbox.get(key) for key in _SIDES] if isinstance(bbox, dict) else bbox)
    if len(numbers) != 4:
        raise ValueError(f"bbox has {len(numbers)} numbers")
    return Box(*numbers)


def _outline(rest: Record, bbox: object) -> Geometry | None:
    segmentation = rest.get("segmentation")
    if segmentation is None:
        return _turned(rest, bbox)
    if isinstance(segmentation, list) and len(segmentation) == 1 and isinstance(segmentation[0], dict):
        (segmentation,) = segmentation
    if isinstance(segmentation, dict):
        return _mask(as_record(segmentation))
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation is {_shown(segmentation)}")  # noqa: TRY004 - bad data, not a wrong call
    rings = _rings(segmentation)
    return Polygon(rings[0], rings[1:]) if rings else _turned(rest, bbox)


def _turned(rest: Record, bbox: object) -> Polygon | None:
    """The box as CVAT means it, who writes it upright with a rotation beside it."""
    rotation, box = as_record(rest.get("attributes")).get("rotation"), _box(bbox)
    if box is None or not isinstance(rotation, int | float) or not math.isfinite(rotation) or not rotation % 360:
        return None
    return rotated(box, math.radians(rotation))


def _rings(segmentation: list[object]) -> tuple[Ring, ...]:
    """The outlines: a list of flat lists as COCO wants it, one flat list, or one list of points."""
    if segmentation and all(isinstance(one, int | float | str) for one in segmentation):
        segmentation = [segmentation]
    rings = [_numbers(_flat(ring)) for ring in segmentation]
    if len(rings) > 2 and all(len(ring) == 2 for ring in rings):
        rings = [[number for ring in rings for number in ring]]
    if any(len(ring) % 2 for ring in rings):
        raise ValueError("an outline has an odd number of numbers")
    pairs = [tuple(zip(ring[::2], ring[1::2], strict=True)) for ring in rings if ring]
    # A speck of two points beside real outlines is the rest of a cut.
    return tuple(ring for ring in pairs if len(ring) > 2) or tuple(pairs)


def _flat(ring: object) -> object:
    """A list of points as one of numbers; anything else as it is."""
    if isinstance(ring, list) and ring and all(isinstance(point, list) and len(point) == 2 for point in ring):
        return [number for point in ring for number in point]
    return ring


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
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is not a list of numbers")  # noqa: TRY004 - bad data, not a wrong call
    if not _NUMBERS.issuperset(map(type, value)) and not all(map(_is_number, value)):
        raise ValueError(f"{_shown(value)} holds what is no number")
    return [*map(float, value)]


def _is_number(value: object) -> bool:
    return type(value) in _NUMBERS or (isinstance(value, str) and bool(_NUMBER.fullmatch(value)))


def _attributes(rest: Record) -> dict[str, str]:
    found = {key: value for key, value in as_record(rest.get("attributes")).items() if key != "rotation"}
    if isinstance(rest.get("score"), int | float):
        found["score"] = rest["score"]
    return {key: as_text(value) for key, value in found.items() if value is not None}
