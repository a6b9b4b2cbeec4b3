# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = [
#   "datumaro @ git+https://github.com/cvat-ai/datumaro@8970bb7b13d4856d46cdb80a702772dac93a8041", "numpy<2", "pillow",
# ]
# ///
"""What CVAT exports, by the writers that its server calls, with the values that their readers give.

The server makes a data set of a task and lets its own edition of Datumaro write it. Here the data set is made as the
server makes it: a rotated box is an upright one with the attribute `rotation`, and `occluded` is always there.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.extractor import DatasetItem
from datumaro.components.media import Image
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save

MADE_BY = "CVAT's edition of Datumaro (8970bb7b), called as CVAT calls it"
SPLITS = {"a b.jpg": "Train", "b.jpg": "Validation", "c.jpg": "Validation"}
FACTS = {"occluded": False}
ANGLE = 45.0


def boxes(name: str) -> Iterable[Bbox]:
    """The boxes of an image, the cats turned, with attributes of all kinds that a label may have."""
    for label, (x1, y1, x2, y2) in BOXES[name]:
        angle = ANGLE if label == "cat" else 0.0
        facts = {**FACTS, "rotation": angle, "wet": True, "size": 2.5, "note": "left"}
        yield Bbox(x1, y1, x2 - x1, y2 - y1, label=CLASSES.index(label), attributes=facts)


def outlines(name: str) -> Iterable[Polygon]:
    for number, (label, points) in enumerate(OUTLINES[name], 1):
        yield Polygon(list(chain(*points)), label=CLASSES.index(label), attributes=FACTS, group=number)


def write(
    folder: Path, file_format: str, shapes: Callable[[str], Iterable[Any]], *, split: bool, **options: Any
) -> None:
    """Write the sample, as a task with subsets or without."""
    items = [
        DatasetItem(
            Path(name).stem,
            subset=SPLITS[name] if split else "default",
            annotations=list(shapes(name)),
            media=Image(path=name, size=SIZES[name][::-1], data=lambda _, name=name: pixels(name)),
            attributes={"frame": number},
        )
        for number, name in enumerate(SIZES)
    ]
    categories = {AnnotationType.label: LabelCategories.from_iterable(CLASSES)}
    Dataset.from_iterable(items, categories).export(str(folder), file_format, save_images=True, **options)


def pixels(name: str) -> Any:
    width, height = SIZES[name]
    return np.full((height, width, 3), 90, dtype=np.uint8)


def as_read(folder: Path, file_format: str, told: Callable[[Any, str], Any]) -> Mapping[str, Any]:
    """What the reader gives, image by image; where each has a file of its own, one without is not annotated."""
    found = Dataset.import_from(str(folder), file_format)
    names = found.categories()[AnnotationType.label]
    splits = {"train": "train", "valid": "val", "validation": "val", "val": "val"}
    return {
        Path(item.media.path).relative_to(folder).as_posix(): image(
            [told(one, names[one.label].name) for one in item.annotations],
            split=splits.get(item.subset.lower()),
            annotated=not file_format.startswith(("voc", "yolov8")) or any(folder.rglob(f"{item.id}.[tx][xm][tl]")),
        )
        for item in found
    }


def told_box(one: Any, label: str, names: Sequence[str] = ("occluded", "wet", "size", "note")) -> Any:
    """A box, turned about its centre where it says so."""
    x, y, width, height = one.get_bbox()
    facts = {name: text(one.attributes[name]) for name in names if name in one.attributes}
    turn = math.radians(float(one.attributes.get("rotation", 0)))
    if not turn:
        return box(label, x, y, x + width, y + height, **facts)
    corners = [(-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2)]
    centre = x + width / 2, y + height / 2
    turned = [
        (
            centre[0] + right * math.cos(turn) - down * math.sin(turn),
            centre[1] + right * math.sin(turn) + down * math.cos(turn),
        )
        for right, down in corners
    ]
    return outline(label, turned, **facts)


def told_voc_box(one: Any, label: str) -> Any:
    """Pascal VOC says of each box whether it is occluded, which counts where it is."""
    return told_box(one, label, ("wet", "size", "note"))


def told_outline(one: Any, label: str) -> Any:
    facts = {name: text(value) for name, value in one.attributes.items() if name == "occluded"}
    return outline(label, zip(one.points[::2], one.points[1::2], strict=True), **facts)


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def coco(folder: Path) -> None:
    write(folder, "coco_instances", boxes, split=False, merge_images=False)
    save("cvat-coco", MADE_BY, folder, as_read(folder, "coco_instances", told_box))


def coco_outlines(folder: Path) -> None:
    write(folder, "coco_instances", outlines, split=False, merge_images=False)
    save("cvat-coco-outlines", MADE_BY, folder, as_read(folder, "coco_instances", told_outline))


def voc(folder: Path) -> None:
    write(folder, "voc", boxes, split=True, label_map="source")
    save("cvat-voc", MADE_BY, folder, as_read(folder, "voc", told_voc_box))


def yolo(folder: Path) -> None:
    write(folder, "yolo", boxes, split=False)
    save("cvat-yolo", MADE_BY, folder, as_read(folder, "yolo", told_box))


def yolo_detect(folder: Path) -> None:
    write(folder, "yolov8_detection", boxes, split=True)
    save("cvat-ultralytics-detect", MADE_BY, folder, as_read(folder, "yolov8_detection", told_box))


def yolo_oriented(folder: Path) -> None:
    write(folder, "yolov8_oriented_boxes", boxes, split=True)
    save("cvat-ultralytics-oriented", MADE_BY, folder, as_read(folder, "yolov8_oriented_boxes", told_box))


def yolo_outlines(folder: Path) -> None:
    write(folder, "yolov8_segmentation", outlines, split=True)
    save("cvat-ultralytics-outlines", MADE_BY, folder, as_read(folder, "yolov8_segmentation", told_outline))


for make in (coco, coco_outlines, voc, yolo, yolo_detect, yolo_oriented, yolo_outlines):
    with place() as scratch:
        make(scratch)
