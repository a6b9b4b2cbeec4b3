"""Reads COCO's instances files.

A file lists its annotations in any order, so those of all files are sorted by image in a temporary database on disk:
memory does not grow with the files. Segmentations win over boxes; a box alone stays a box. An image that is listed
without annotations, in a file that has some, is annotated as empty. Of a file that is broken somewhere nothing is used,
because images would lack objects. What several files say about one image is joined.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

from bloomery_vision.findings import Finding, error, warning
from bloomery_vision.formats.cleaning import (
    About,
    Entry,
    Stated,
    annotated,
    as_finding,
    clean,
    failed,
    measure,
    orientation_of,
    unannotated,
)
from bloomery_vision.formats.coco_objects import Record, as_records, key_of, parse_object
from bloomery_vision.formats.coco_survey import KEYS, as_category
from bloomery_vision.formats.coco_tables import Annotation, Image, Tables
from bloomery_vision.formats.joining import joined
from bloomery_vision.formats.json_stream import read_arrays
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex
from bloomery_vision.formats.model import FormatError, ImportItem
from bloomery_vision.formats.pairing import SEVERAL_HINT, missing_image
from bloomery_vision.formats.plan import Left, Plan
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.formats.tree import Tree

_TAIL = 4096
"""Bytes in which Label Studio's COCO files say at their end who made them."""

_NO_SIDE = 1 << 31
"""Pixels that no image has along a side."""

_MAY_BE_PICTURES = (Left.PICTURE_NOT_READ, Left.OTHER)

Categories = Mapping[str, str]
"""The names of a file's labels by `key_of` of their ids."""


def read_coco(source: Source, plan: Plan, images: Iterable[str]) -> Iterator[ImportItem]:
    """One item for each of `images`, then what the records leave over."""
    with Tables() as tables:
        files = _Files(source, plan, tables)
        yield from files.load()
        for image in images:
            records = tables.of_path(image) if image in plan.label_of else ()
            yield files.item(image, records) if records else unannotated(source, image, plan.splits.get(image))
        yield from files.leftovers()


class _Files:
    def __init__(self, source: Source, plan: Plan, tables: Tables) -> None:
        self._source, self._plan, self._tables = source, plan, tables
        self._index = NameIndex(plan.images)
        self._unread = Tree.of(name for name, why in plan.left.items() if why in _MAY_BE_PICTURES).unread
        self._categories: dict[int, Categories] = {}
        # Of a turned photograph Label Studio writes boxes as it is shown, but its size and outlines as it is stored.
        self._mixed: set[int] = set()

    def load(self) -> Iterator[ImportItem]:
        """Fills the tables, and yields an item for each file that cannot be used."""
        for number, name in enumerate(self._plan.label_files):
            try:
                self._categories[number] = self._load(number, name)
            except FormatError as problem:
                self._tables.forget(number)
                yield failed(name, as_finding(problem, name), annotation_path=name)
        self._tables.close_files()

    def _load(self, number: int, name: str) -> Categories:
        arrays: set[str] = set()
        categories: dict[str, str] = {}
        try:
            with self._source.open(name) as stream:
                for key, elements in read_arrays(stream, KEYS, arrays=arrays):
                    self._add(number, name, key, as_records(elements), categories)
                if _is_of_label_studio(stream):
                    self._mixed.add(number)
        except OSError as problem:
            raise FormatError("UNREADABLE", f"{name} cannot be read: {problem}", "upload the file again") from problem
        if "annotations" not in arrays:
            self._tables.forget(number)
        return categories

    def _add(self, file: int, name: str, key: str, records: Sequence[Record], categories: dict[str, str]) -> None:
        match key:
            case "categories":
                for one in filter(None, map(as_category, records)):
                    categories.setdefault(one.id, one.name)
            case "images":
                self._tables.add_images(self._image(file, name, record) for record in records)
            case _:
                self._tables.add_annotations(file, records)

    def _image(self, file: int, near: str, record: Record) -> Image:
        identifier, wanted = key_of(record.get("id")), record.get("file_name")
        name = wanted if isinstance(wanted, str) else None
        found = self._find(name, near) if name and identifier is not None else None
        path = found if isinstance(found, str) else None
        width, height = _declared_size(record) or (None, None)
        return Image(file, identifier, path, name, width, height, repeated=False)

    def _find(self, wanted: str, near: str) -> str | Finding:
        try:
            found = self._index.find(wanted, near=near)
        except AmbiguousNameError as problem:
            return error("AMBIGUOUS_IMAGE", str(problem), hint=SEVERAL_HINT, path=near)
        return found or missing_image(self._unread, wanted, f"there is no image {wanted}")

    def item(self, image: str, records: Sequence[Image]) -> ImportItem:
        """The item of an image with at least one record."""
        # What a record says whose id is used twice is not believed, where another is about the image.
        good = [record for record in records if not record.repeated]
        first = (good or records)[0]
        name = self._plan.label_files[first.file]
        size = measure(self._source, image)
        if isinstance(size, Finding):
            return failed(image, size, annotation_path=name)
        if not good:
            message = f"image id {first.id} is used twice"
            where = f"{name}#image {first.id}"
            twice = error("DUPLICATE_ID", message, hint="give each image its own", path=where)
            return failed(image, twice, annotation_path=name)
        stated = [self._stated(image, size, record) for record in good]
        annotations = [self._tables.annotations_of(record) for record in good]
        parts = [
            (one.path, clean(self._entries(record, found), size, one.orientation))
            for record, found, one in zip(good, annotations, stated, strict=True)
        ]
        about = About(
            name,
            self._plan.splits.get(image),
            stated=stated,
            problems=self._repeated(good, annotations),
            source_name=first.name or "",
            source_id=first.id or "",
        )
        return annotated(image, size, joined(parts), about)

    def _stated(self, image: str, size: Size, record: Image) -> Stated:
        declared = _declared(record)
        turn = 1 if record.file in self._mixed else orientation_of(self._source, image, size, declared)
        return Stated(self._plan.label_files[record.file], declared, turn)

    def _entries(self, record: Image, annotations: Iterable[Annotation]) -> Iterator[Entry]:
        categories, where = self._categories[record.file], self._where(record.file)
        for _, identifier, kept in annotations:
            yield Entry(f"{where}{identifier}", parse_object(kept, categories), identifier or "")

    def _repeated(self, records: Sequence[Image], annotations: Iterable[Iterable[Annotation]]) -> list[Finding]:
        hint = "give each annotation its own"
        return [
            warning(
                "DUPLICATE_ID",
                f"annotation id {one} is used twice",
                hint=hint,
                path=f"{self._where(record.file)}{one}",
            )
            for record, found in zip(records, annotations, strict=True)
            for one in self._tables.repeated(record, found)
        ]

    def _where(self, file: int) -> str:
        return f"{self._plan.label_files[file]}#annotation "

    def leftovers(self) -> Iterator[ImportItem]:
        """Items of records that mean no image, and of annotations without a record."""
        for image in self._tables.unplaced():
            yield self._unplaced(image)
        for file, image_id, count in self._tables.orphans():
            name = self._plan.label_files[file]
            whose = "1 annotation is" if count == 1 else f"{count} annotations are"
            message = f"{whose} of image_id {image_id}, which the file does not list"
            problem = error("UNKNOWN_IMAGE", message, hint="add the image's record", path=f"{name}#image {image_id}")
            yield failed(f"image_id {image_id}", problem, annotation_path=name)

    def _unplaced(self, image: Image) -> ImportItem:
        name = self._plan.label_files[image.file]
        where = f"{name}#image {image.id}"
        if image.id is None or not image.name:
            problem = error("BAD_RECORD", "it has no id or no file_name", hint="give it both", path=where)
            return failed(str(image.name), problem, annotation_path=name)
        found = self._find(image.name, name)
        problem = found if isinstance(found, Finding) else error("MISSING_IMAGE", f"there is no image {image.name}")
        return failed(image.name, replace(problem, path=where), annotation_path=name)


def _is_of_label_studio(stream: BinaryIO) -> bool:
    stream.seek(max(0, stream.seek(0, io.SEEK_END) - _TAIL))
    return b'"Label Studio"' in stream.read()


def _declared(record: Image) -> Size | None:
    return (record.width, record.height) if record.width and record.height else None


def _declared_size(record: Record) -> Size | None:
    """The (width, height) that an image's record states; None where one of them can be the side of no image."""
    sides = [record.get("width"), record.get("height")]
    width, height = (int(one) if isinstance(one, int | float) and 0 < one < _NO_SIDE else 0 for one in sides)
    return (width, height) if width and height else None
