"""Writes COCO instances files.

Ids are those that images, annotations and categories had in the COCO files that they were imported from. An id is kept
where it is a whole number that nothing before it in its file has; everything else is numbered on from the greatest id
of all files. So the ids are known at the end only: until then the records wait on disk, without them.
"""

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import IO, Self

import numpy as np

from bloomery_vision.formats.attributes import as_value
from bloomery_vision.formats.export import Notes, Stems, placed
from bloomery_vision.formats.model import ExportChunk, ExportRow, LabelSpec
from bloomery_vision.geometry import Geometry, Mask, Polygon, Ring, Shape, Tag
from bloomery_vision.rasterize import rasterize

_SPOOL = 16 << 20
"""Bytes of the records of a file that are kept in memory until their ids are known."""
_CHUNK = 1 << 16
_COMPARED = 200
"""Outlines of one object that are compared with each other; more of them are drawn, which takes no longer for more."""
_NO_ID = -1
_LARGEST_ID = 2**53
"""The largest whole number that every reader of JSON takes for what it is."""


def write_coco(
    rows: Iterable[ExportRow], labels: Sequence[LabelSpec], *, notes: Notes | None = None
) -> Iterator[ExportChunk]:
    """`annotations/instances_<split>.json` for each split.

    The images belong at `image_path(row)`. A box has no segmentation, a mask has a compressed one. A name that is not
    the one of the source is written beside it as `original_name`.

    Args:
        rows: read once.
        labels: the categories; shapes of other labels are left out.
        notes: counts what was left out: "tag left out", "label left out".

    Raises:
        FormatError: BAD_NAME, DUPLICATE_NAME.
    """
    notes = Notes() if notes is None else notes
    categories = _categories(labels)
    stems = Stems()
    with ExitStack() as stack:
        files: dict[str, _File] = {}
        for row in rows:
            stems.take(row)
            if row.split not in files:
                files[row.split] = stack.enter_context(_File())
            shapes = _known(placed(row.shapes, notes, crowds=True), categories, notes)
            files[row.split].add(row, shapes, categories)
        yield from _written(files, labels, categories)


def _categories(labels: Sequence[LabelSpec]) -> Mapping[str, int]:
    """The ids of categories by their names: from 1 where none has one."""
    given = array("q", (_whole(label.source_id) for label in labels))
    numbers = _numbered(given, _following(given))
    return {label.name: number for label, number in zip(labels, numbers, strict=True)}


class _Records:
    """JSON objects without their ids, and the ids that they had; `owners` are the images of annotations by number."""

    def __init__(self) -> None:
        self.ids = array("q")
        self.owners = array("q")
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL)  # noqa: SIM115 - closed by its _File

    def close(self) -> None:
        self._spool.close()

    def add(self, source_id: str, record: Mapping[str, object]) -> None:
        self.ids.append(_whole(source_id))
        self._spool.write(_dump(record) + b"\n")

    def chunks(self, numbers: Sequence[int], owners: Sequence[int] | None = None) -> Iterator[bytes]:
        """The records with their ids, as parts of a list."""
        self._spool.seek(0)
        part = bytearray()
        for number, (own, line) in enumerate(zip(numbers, self._spool, strict=True)):
            image = b"" if owners is None else b'"image_id": %d, ' % owners[self.owners[number]]
            part += b'%s{"id": %d, %s%s' % (b",\n" if number else b"", own, image, line[1:-1])
            if len(part) > _CHUNK:
                yield bytes(part)
                part.clear()
        yield bytes(part)


class _File:
    """What goes into one file."""

    def __init__(self) -> None:
        self.images, self.annotations = _Records(), _Records()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.images.close()
        self.annotations.close()

    def add(self, row: ExportRow, shapes: Iterable[Shape], categories: Mapping[str, int]) -> None:
        for shape in shapes:
            self.annotations.owners.append(len(self.images.ids))
            self.annotations.add(shape.source_id, _annotation(shape, categories[shape.label], row))
        self.images.add(row.source_id, _image(row))


def _written(
    files: Mapping[str, _File], labels: Sequence[LabelSpec], categories: Mapping[str, int]
) -> Iterator[ExportChunk]:
    listed = [{"id": categories[one.name], "name": one.name, "supercategory": one.supercategory} for one in labels]
    next_image = _following(*(file.images.ids for file in files.values()))
    next_annotation = _following(*(file.annotations.ids for file in files.values()))
    for split, file in files.items():
        path = f"annotations/instances_{split}.json"
        images = _numbered(file.images.ids, next_image)
        annotations = _numbered(file.annotations.ids, next_annotation)
        next_image, next_annotation = max(next_image, _following(images)), max(next_annotation, _following(annotations))
        yield ExportChunk(path, b'{"categories": ' + _dump(listed) + b',\n"images": [\n')
        yield from (ExportChunk(path, part) for part in file.images.chunks(images))
        yield ExportChunk(path, b'\n],\n"annotations": [\n')
        yield from (ExportChunk(path, part) for part in file.annotations.chunks(annotations, images))
        yield ExportChunk(path, b"\n]}\n")


def _following(*ids: Iterable[int]) -> int:
    """The number after the greatest of all, from 1 on."""
    return 1 + max((0, *(max(some, default=0) for some in ids)))


def _numbered(given: Sequence[int], following: int) -> list[int]:
    """The ids where they are the first of their kind, and for all others numbers from `following` on."""
    ids = np.array(given, dtype=np.int64)
    first = np.zeros(len(ids), dtype=bool)
    first[np.unique(ids, return_index=True)[1]] = True
    new = ~first | (ids == _NO_ID)
    ids[new] = np.arange(following, following + int(new.sum()))
    return list(map(int, ids))


def _whole(source_id: str) -> int:
    number = int(source_id) if source_id.isascii() and source_id.isdigit() and len(source_id) < 17 else _NO_ID
    return number if number <= _LARGEST_ID and str(number) == source_id else _NO_ID


def _image(row: ExportRow) -> Mapping[str, object]:
    record: dict[str, object] = {"file_name": row.file_name, "width": row.width, "height": row.height}
    original = row.source_name or row.original_name
    return record | ({"original_name": original} if original not in ("", row.file_name) else {})


def _known(shapes: Iterable[Shape], categories: Mapping[str, int], notes: Notes) -> Iterator[Shape]:
    for shape in shapes:
        if shape.label in categories:
            yield shape
        else:
            notes["label left out"] += 1


def _annotation(shape: Shape, category: int, row: ExportRow) -> Mapping[str, object]:
    box = shape.geometry.bounds
    record: dict[str, object] = {"category_id": category}
    if box is not None:
        record["bbox"] = [box.x, box.y, box.width, box.height]
    record["area"] = _area(shape.geometry, row)
    record["segmentation"] = _segmentation(shape.geometry)
    record["iscrowd"] = int(shape.crowd)
    if shape.attributes:
        record["attributes"] = {key: as_value(text) for key, text in shape.attributes.items()}
    return record


def _area(geometry: Geometry, row: ExportRow) -> float:
    """In square pixels; what outlines of one object have in common counts once."""
    match geometry:
        case Tag():
            return 0.0
        case Polygon() if _may_overlap(geometry.rings):
            return float(rasterize(geometry, (row.width, row.height), scale=(1.0, 1.0)).area)
    return float(geometry.area)


def _may_overlap(rings: Sequence[Ring]) -> bool:
    if len(rings) > _COMPARED:
        return True
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


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
