"""Reads COCO's instances files.

A file lists its annotations in any order, so they are sorted by image in a temporary database on disk: memory does not
grow with the file. Segmentations win over boxes; a box alone stays a box. An image that is listed without annotations
is annotated as empty. Of a file that is broken somewhere nothing is used, because images would lack objects.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from bloomery_vision.colors import color
from bloomery_vision.findings import Finding, error, warning
from bloomery_vision.formats.cleaning import Parsed, as_finding, failed, finish, locate, unannotated
from bloomery_vision.formats.coco_objects import Record, as_record, key_of, parse_object
from bloomery_vision.formats.coco_tables import Annotation, Image, Tables
from bloomery_vision.formats.json_stream import read_arrays
from bloomery_vision.formats.lookup import NameIndex, is_image, split_of, split_of_file
from bloomery_vision.formats.model import Format, FormatError, FormatGuess, ImportItem, LabelSpec
from bloomery_vision.formats.source import Size, Source

_KEYS = frozenset({"images", "annotations", "categories"})
_LOOKS_LIKE_COCO = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_OTHER_KINDS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
_HEAD = 1 << 16

Categories = dict[str, str]
"""The names of a file's labels by `key_of` of their ids."""


def detect_coco(source: Source) -> FormatGuess | None:
    """JSON files that list images, annotations or categories."""
    files = coco_files(source)
    return FormatGuess(Format.COCO, f"{', '.join(files)} list images and annotations", tuple(files)) if files else None


def read_coco(source: Source) -> Iterator[ImportItem]:
    """One item for each image record, in the order of the files, then what the records leave over."""
    names = source.names()
    images = NameIndex(filter(is_image, names))
    seen: set[str] = set()
    with Tables() as tables:
        for name in coco_files(source):
            try:
                categories = _load(source, name, tables)
            except FormatError as problem:
                yield failed(name, as_finding(problem, name), annotation_path=name)
                continue
            for image in tables.images():
                yield _item(
                    source, name, image, tables.annotations_of(image), images=images, categories=categories, seen=seen
                )
            yield from _orphans(name, tables)
    for name in filter(is_image, names):
        if name not in seen:
            yield unannotated(source, name, split_of(name))


def read_coco_labels(source: Source) -> tuple[LabelSpec, ...]:
    """The categories of all files, in their order. They may stand at a file's end, so all of it is read."""
    found: dict[str, None] = {}
    for name in coco_files(source):
        try:
            with source.open(name) as stream:
                for _, element, _ in read_arrays(stream, frozenset({"categories"})):
                    found.update(dict.fromkeys(_category(element).values()))
        except FormatError:
            continue  # read_coco reports the file
    return tuple(LabelSpec(label, color(index)) for index, label in enumerate(found))


def coco_files(source: Source) -> list[str]:
    """The instances files: where there are some, files of other kinds beside them are left out."""
    found = [name for name in source.names() if name.lower().endswith(".json") and _is_coco(source, name)]
    instances = [name for name in found if PurePosixPath(name).name.startswith("instances")]
    if not instances:
        return found
    return [name for name in found if not PurePosixPath(name).name.startswith(_OTHER_KINDS)]


def _is_coco(source: Source, name: str) -> bool:
    with source.open(name) as stream:
        return bool(_LOOKS_LIKE_COCO.search(stream.read(_HEAD)))


def _load(source: Source, name: str, tables: Tables) -> Categories:
    tables.clear()
    categories: Categories = {}
    with source.open(name) as stream:
        for key, element, text in read_arrays(stream, _KEYS):
            record = as_record(element)
            match key:
                case "categories":
                    categories.update(_category(record))
                case "images":
                    tables.add_image(key_of(record.get("id")), text)
                case "annotations":
                    tables.add_annotation(key_of(record.get("image_id")), key_of(record.get("id")), text)
    return categories


def _category(element: object) -> Categories:
    record = as_record(element)
    identifier, label = key_of(record.get("id")), record.get("name")
    if identifier is None or not isinstance(label, str) or not label.strip():
        return {}
    return {identifier: label.strip()}


def _item(
    source: Source,
    name: str,
    image: Image,
    annotations: Iterator[Annotation],
    *,
    images: NameIndex,
    categories: Mapping[str, str],
    seen: set[str],
) -> ImportItem:
    record = as_record(json.loads(image.text))
    wanted = record.get("file_name")
    where = f"{name}#image {image.id}"
    if not isinstance(wanted, str) or image.id is None:
        problem = error("BAD_RECORD", "it has no id or no file_name", hint="give it both", path=where)
        return failed(str(wanted), problem, annotation_path=name)
    found = _found(images, wanted, near=name, image=image, seen=seen)
    if isinstance(found, Finding):
        return failed(wanted, found, annotation_path=name)
    seen.add(found)
    parsed, repeated = _parsed(name, annotations, categories)
    return finish(
        source,
        found,
        parsed,
        annotation_path=name,
        split=split_of_file(name) or split_of(found),
        declared=_declared_size(record),
        problems=repeated,
    )


def _found(images: NameIndex, wanted: str, *, near: str, image: Image, seen: set[str]) -> str | Finding:
    where = f"{near}#image {image.id}"
    if image.repeated:
        return error("DUPLICATE_ID", f"image id {image.id} is used twice", hint="give each image its own", path=where)
    found = locate(images, wanted, near=near)
    if isinstance(found, str) and found in seen:
        return error("DUPLICATE_IMAGE", f"{found} is described twice", hint="delete one record", path=where)
    return found


def _parsed(
    name: str, annotations: Iterator[Annotation], categories: Mapping[str, str]
) -> tuple[list[tuple[str, Parsed]], list[Finding]]:
    parsed: list[tuple[str, Parsed]] = []
    repeated: list[Finding] = []
    for annotation in annotations:
        where = f"{name}#annotation {annotation.id}"
        parsed.append((where, parse_object(as_record(json.loads(annotation.text)), categories)))
        if annotation.repeated:
            message = f"annotation id {annotation.id} is used twice"
            repeated.append(warning("DUPLICATE_ID", message, hint="give each annotation its own", path=where))
    return parsed, repeated


def _orphans(name: str, tables: Tables) -> Iterator[ImportItem]:
    for image_id, count in tables.orphans():
        message = f"{count} annotations are of image_id {image_id}, which the file does not list"
        problem = error("UNKNOWN_IMAGE", message, hint="add the image's record", path=f"{name}#image {image_id}")
        yield failed(f"image_id {image_id}", problem, annotation_path=name)


def _declared_size(record: Record) -> Size | None:
    width, height = record.get("width"), record.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
