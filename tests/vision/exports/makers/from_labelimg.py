# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["labelImg==1.8.6", "pillow"]
# ///
"""labelImg's Pascal VOC, YOLO and CreateML files, saved as its window does, with the values that its readers give.

CreateML is not read.

Its window counts from 0, and it saves such corners as Pascal VOC too, whose pixels count from 1: as that is the format
that it says it writes, the files are expected to be read as Pascal VOC is. It begins a list of classes in every folder.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from libs.labelFile import LabelFile
from libs.pascal_voc_io import PascalVocReader
from libs.yolo_io import YoloReader
from PyQt5.QtGui import QImage
from sample import BOXES, box, image, place, save, write_images

MADE_BY = "labelImg 1.8.6"
FOLDERS = {"a b.jpg": "night", "b.jpg": "day", "c.jpg": "night"}
DIFFICULT = ("a b.jpg", "dog")
Corners = tuple[float, float, float, float]


def drawn(name: str) -> list[dict[str, Any]]:
    """The boxes of an image, as the window holds them."""
    return [
        {
            "label": label,
            "points": [(x1, y1), (x2, y1), (x2, y2), (x1, y2)],
            "difficult": (name, label) == DIFFICULT,
        }
        for label, (x1, y1, x2, y2) in BOXES[name]
    ]


def read(reader: Any) -> Iterable[tuple[str, Corners, bool]]:
    """What a reader of labelImg shows in its window."""
    for label, points, _, _, difficult in reader.get_shapes():
        yield label, (*points[0], *points[2]), bool(difficult)


def voc(folder: Path, name: str, classes: list[str]) -> Sequence[Mapping[str, Any]]:
    path = folder / name
    LabelFile().save_pascal_voc_format(str(path.with_suffix(".xml")), drawn(name), str(path), None)
    size = QImage(str(path))
    shapes = []
    for label, (x1, y1, x2, y2), difficult in read(PascalVocReader(str(path.with_suffix(".xml")))):
        # It calls truncated what touches an edge, and does not read that itself.
        truncated = x1 == 1 or y1 == 1 or x2 == size.width() or y2 == size.height()
        told = {"difficult": "1"} if difficult else {}
        told |= {"truncated": "1"} if truncated else {}
        shapes.append(box(label, x1 - 1, y1 - 1, x2, y2, **told))
    return shapes


def yolo(folder: Path, name: str, classes: list[str]) -> Sequence[Mapping[str, Any]]:
    path = folder / name
    LabelFile().save_yolo_format(str(path.with_suffix(".txt")), drawn(name), str(path), None, classes)
    reader = YoloReader(str(path.with_suffix(".txt")), QImage(str(path)))
    return [box(label, *corners) for label, corners, _ in read(reader)]


def create_ml(folder: Path, name: str, classes: list[str]) -> Sequence[Mapping[str, Any]]:
    path = folder / name
    LabelFile().save_create_ml_format(str(path.with_suffix(".json")), drawn(name), str(path), None, classes)
    return []


def make(
    kind: str,
    write: Callable[[Path, str, list[str]], Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    *,
    unread: str | None = None,
) -> None:
    with place() as scratch:
        classes: dict[str, list[str]] = {}
        expected = {}
        for name, where in FOLDERS.items():
            write_images(scratch / where, [name])
            shapes = write(scratch / where, name, classes.setdefault(where, []))
            expected[f"{where}/{name}"] = image(shapes, annotated=not unread)
        save(f"labelimg-{kind}", MADE_BY, scratch, expected, labels=labels, unread=unread)


make("voc", voc, ["cat", "dog"])
make("yolo", yolo, ["dog", "cat"])
make("createml", create_ml, [], unread="CreateML")
