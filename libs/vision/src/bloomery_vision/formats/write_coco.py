"""Writes COCO instances files."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import IO

from bloomery_vision.formats.export import Notes, Stems, placed
from bloomery_vision.formats.model import ExportChunk, ExportRow
from bloomery_vision.geometry import Geometry, Mask, Polygon, Ring, Shape, Tag
from bloomery_vision.rasterize import rasterize

_SPOOL = 16 << 20
"""Bytes of annotations of a split that are kept in memory until its images are written."""
_CHUNK = 1 << 20


def write_coco(
    rows: Iterable[ExportRow], labels: Sequence[str], *, notes: Notes | None = None
) -> Iterator[ExportChunk]:
    """`annotations/instances_<split>.json` for each split.

    The images belong at `image_path(row)`. Category ids count from 1 in the order of the labels, image and annotation
    ids over all splits. A box has no segmentation, a mask has a compressed one.

    Args:
        rows: read once.
        labels: the categories; shapes of other labels are left out.
        notes: counts what was left out: TAG_LEFT_OUT, LABEL_LEFT_OUT.

    Raises:
        FormatError: BAD_NAME, DUPLICATE_NAME.
    """
    notes = Notes() if notes is None else notes
    categories = {label: number for number, label in enumerate(labels, 1)}
    stems, annotation_id = Stems(), 0
    with ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        for image_id, row in enumerate(rows, 1):
            stems.take(row, folder=row.split)
            start = b",\n"
            if row.split not in files:
                files[row.split] = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL))
                start = _start(categories)
            yield ExportChunk(_path(row.split), start + _image(image_id, row))
            for shape in _known(placed(row.shapes, notes, crowds=True), categories, notes):
                annotation_id += 1
                annotation = _annotation(annotation_id, image_id, shape, categories[shape.label], row)
                _append(files[row.split], annotation)
        for split, annotations in files.items():
            yield from (ExportChunk(_path(split), data) for data in _rest(annotations))


def _path(split: str) -> str:
    return f"annotations/instances_{split}.json"


def _start(categories: Mapping[str, int]) -> bytes:
    records = [{"id": number, "name": label, "supercategory": ""} for label, number in categories.items()]
    return b'{"categories": ' + _dump(records) + b',\n"images": [\n'


def _image(image_id: int, row: ExportRow) -> bytes:
    return _dump({"id": image_id, "file_name": row.file_name, "width": row.width, "height": row.height})


def _known(shapes: Iterable[Shape], categories: Mapping[str, int], notes: Notes) -> Iterator[Shape]:
    for shape in shapes:
        if shape.label in categories:
            yield shape
        else:
            notes["LABEL_LEFT_OUT"] += 1


def _annotation(number: int, image_id: int, shape: Shape, category: int, row: ExportRow) -> bytes:
    box = shape.geometry.bounds
    record: dict[str, object] = {"id": number, "image_id": image_id, "category_id": category}
    if box is not None:
        record["bbox"] = [box.x, box.y, box.width, box.height]
    record["area"] = _area(shape.geometry, row)
    record["segmentation"] = _segmentation(shape.geometry)
    record["iscrowd"] = int(shape.crowd)
    if shape.attributes:
        record["attributes"] = dict(shape.attributes)
    return _dump(record)


def _area(geometry: Geometry, row: ExportRow) -> float:
    """In square pixels; what outlines of one object have in common counts once."""
    match geometry:
        case Tag():
            return 0.0
        case Polygon() if _may_overlap(geometry.rings):
            return float(rasterize(geometry, (row.width, row.height), scale=(1.0, 1.0)).area)
    return float(geometry.area)


def _may_overlap(rings: Sequence[Ring]) -> bool:
    boxes = [Polygon(ring).bounds for ring in rings]
    return any(
        one.x < other.x2 and other.x < one.x2 and one.y < other.y2 and other.y < one.y2
        for one, other in combinations(boxes, 2)
    )


def _segmentation(geometry: Geometry) -> object:
    match geometry:
        case Polygon():
            return [[value for point in ring for value in point] for ring in geometry.rings]
        case Mask():
            return {"size": [geometry.height, geometry.width], "counts": geometry.counts.decode("ascii")}
        case _:
            return []


def _append(annotations: IO[bytes], record: bytes) -> None:
    annotations.write(b",\n" + record if annotations.tell() else record)


def _rest(annotations: IO[bytes]) -> Iterator[bytes]:
    yield b'\n],\n"annotations": [\n'
    annotations.seek(0)
    while data := annotations.read(_CHUNK):
        yield data
    yield b"\n]}\n"


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
