"""Puts images where training libraries look for them, without copying: by hard link from the cache."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bloomery_vision.formats import ExportRow, YoloTask, image_path, write_yolo
from bloomery_vision.formats.export import Notes, stem_of
from bloomery_vision.geometry import Tag
from bloomery_vision.manifest import ManifestRow
from bloomery_worker.dataset import Dataset
from bloomery_worker.failures import DataError

_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


def place(source: Path, target: Path) -> Path:
    """Makes `target` the same file as `source`; a copy where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as problem:
        if problem.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
    return target


@dataclass(frozen=True, slots=True)
class Item:
    """An image that a trainer is given: its name for people, and how many different shapes there are on it."""

    file_name: str
    shapes: int


@dataclass(frozen=True, slots=True)
class Laid:
    """A dataset version in a trainer's own form.

    Attributes:
        data: where the trainer looks.
        root: the folder that `given` counts from.
        given: what is there, by the path of an image's label file, or of the image where its folder is the label.
        left_out: how many shapes or images have no place in that form, by what they are, for people.
    """

    data: Path
    root: Path
    given: Mapping[str, Item]
    left_out: Mapping[str, int]


def yolo_folder(dataset: Dataset, root: Path, *, task: YoloTask) -> Laid:
    """Images and label files as YOLO trainers read them: `images/<split>/`, `labels/<split>/`, `data.yaml`.

    A box counts as its four corners where outlines are wanted. Shapes are cut at the edges of their image. `data` is
    data.yaml, which begins with the absolute `path` of its folder.

    Raises:
        DataError: there are shapes of which nothing is on their image.
    """
    root = root.resolve()
    shutil.rmtree(root, ignore_errors=True)
    names: dict[str, str] = {}
    given: dict[str, Item] = {}
    notes = Notes()
    rows = (_linked(dataset, row, root, names) for row in _cut(dataset))
    for chunk in write_yolo(rows, dataset.classes, task=task, notes=notes):
        path = root / chunk.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(chunk.data)
        if chunk.path in names:
            given[chunk.path] = Item(names.pop(chunk.path), _different(chunk.data))
    config = root / "data.yaml"
    # Without it a trainer may look below a folder of its own.
    config.write_bytes(f"path: {root}\n".encode() + config.read_bytes())
    return Laid(config, root, given, {what: notes[reason] for reason, what in _LEFT_OUT.items() if notes[reason]})


def class_folders(dataset: Dataset, root: Path) -> Laid:
    """Images as classifiers read them: `<split>/<number of the class, 5 digits>/<file name>`.

    Folders are named by number so that their order is that of the classes. Images without exactly one tag are left out.
    """
    root = root.resolve()
    shutil.rmtree(root, ignore_errors=True)
    for split in ("train", "val", "test"):
        for number in range(len(dataset.classes)):
            (root / split / f"{number:05}").mkdir(parents=True)
    given: dict[str, Item] = {}
    untagged = 0
    for row in dataset.rows():
        tag = tag_of(row, dataset.classes)
        if tag is None:
            untagged += 1
            continue
        path = f"{row.split}/{tag:05}/{row.file_name}"
        place(dataset.image_file(row), root / path)
        given[path] = Item(row.file_name, 1)
    return Laid(root, root, given, {"images without exactly one tag": untagged} if untagged else {})


def tag_of(row: ManifestRow, classes: Sequence[str]) -> int | None:
    """The class number of an image that has exactly one tag."""
    tags: Iterable[str] = {shape.label for shape in row.shapes if isinstance(shape.geometry, Tag)}
    numbers = [classes.index(tag) for tag in tags if tag in classes]
    return numbers[0] if len(numbers) == 1 else None


def _cut(dataset: Dataset) -> Iterator[ManifestRow]:
    """The rows with their shapes cut. Raises DataError at the end, naming the images that have a shape outside."""
    outside: list[str] = []
    for row in dataset.rows():
        inside = [(shape, shape.geometry.inside(row.width, row.height)) for shape in row.shapes]
        shapes = tuple(replace(shape, geometry=part) for shape, part in inside if part is not None)
        if len(shapes) < len(inside):
            outside.append(row.file_name)
        yield replace(row, shapes=shapes)
    if outside:
        hint = "delete or draw again what lies outside of its image, and build a new version"
        raise DataError("shapes have no part on their image", hint=hint, items=outside)


def _linked(dataset: Dataset, row: ManifestRow, root: Path, names: dict[str, str]) -> ExportRow:
    exported = ExportRow(row.file_name, row.width, row.height, row.split, row.shapes)
    place(dataset.image_file(row), root / image_path(exported))
    names[f"labels/{row.split}/{stem_of(row.file_name)}.txt"] = row.file_name
    return exported


def _different(lines: bytes) -> int:
    """How many lines of a label file differ in single precision, in which trainers read them."""
    return len({np.array(line.split(), dtype=np.float32).tobytes() for line in lines.splitlines()})


_LEFT_OUT = {
    "crowd left out": "crowds",
    "tag left out": "tags",
    "label left out": "shapes of other classes",
    "mask without a pixel left out": "masks without an area",
}
