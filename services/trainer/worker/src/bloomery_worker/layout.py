"""Puts images where training libraries look for them, without copying: by hard link from the cache."""

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bloomery_vision.formats import ExportRow, YoloTask, image_path, write_yolo
from bloomery_vision.geometry import Tag
from bloomery_vision.manifest import ManifestRow
from bloomery_worker.dataset import Dataset

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


def yolo_folder(dataset: Dataset, root: Path, *, task: YoloTask) -> Path:
    """Images and label files as YOLO trainers read them: `images/<split>/`, `labels/<split>/`, `data.yaml`.

    A box counts as its four corners where outlines are wanted.

    Returns:
        The absolute path of data.yaml, which begins with the absolute `path` of its folder.
    """
    shutil.rmtree(root, ignore_errors=True)
    rows = (_linked(dataset, row, root) for row in dataset.rows())
    for chunk in write_yolo(rows, dataset.classes, task=task):
        path = root / chunk.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(chunk.data)
    config = root / "data.yaml"
    # Without it a trainer may look below a folder of its own.
    config.write_bytes(f"path: {root.resolve()}\n".encode() + config.read_bytes())
    return config


def class_folders(dataset: Dataset, root: Path) -> Path:
    """Images as classifiers read them: `<split>/<number of the class, 5 digits>/<file name>`.

    Folders are named by number so that their order is that of the classes. Images without exactly one tag are left out.
    """
    shutil.rmtree(root, ignore_errors=True)
    for split in ("train", "val", "test"):
        for number in range(len(dataset.classes)):
            (root / split / f"{number:05}").mkdir(parents=True)
    for row in dataset.rows():
        tag = tag_of(row, dataset.classes)
        if tag is not None:
            place(dataset.image_file(row), root / row.split / f"{tag:05}" / row.file_name)
    return root


def tag_of(row: ManifestRow, classes: Sequence[str]) -> int | None:
    """The class number of an image that has exactly one tag."""
    tags: Iterable[str] = {shape.label for shape in row.shapes if isinstance(shape.geometry, Tag)}
    numbers = [classes.index(tag) for tag in tags if tag in classes]
    return numbers[0] if len(numbers) == 1 else None


def _linked(dataset: Dataset, row: ManifestRow, root: Path) -> ExportRow:
    exported = ExportRow(row.file_name, row.width, row.height, row.split, row.shapes)
    place(dataset.image_file(row), root / image_path(exported))
    return exported
