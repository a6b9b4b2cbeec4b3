# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["globox==2.9.0", "pillow"]
# ///
"""Globox's COCO, Pascal VOC and YOLO files, with the values that Globox reads from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from globox import Annotation, AnnotationSet, BoundingBox
from sample import BOXES, CLASSES, SIZES, box, image, place, save, write_images

MADE_BY = "Globox 2.9.0"
NUMBERS = {name: number for number, name in enumerate(CLASSES)}


def sample() -> AnnotationSet:
    return AnnotationSet(
        Annotation(
            name,
            SIZES[name],
            [BoundingBox(label=label, xmin=x1, ymin=y1, xmax=x2, ymax=y2) for label, (x1, y1, x2, y2) in BOXES[name]],
        )
        for name in SIZES
    )


def as_read(found: AnnotationSet, names: Mapping[str, str]) -> Mapping[str, Any]:
    """What Globox reads, where `names` are its labels by what it reads of them."""
    return {
        f"images/{one.image_id}": image(
            box(names[str(each.label)], each.xmin, each.ymin, each.xmax, each.ymax) for each in one.boxes
        )
        for one in found
    }


def coco(folder: Path) -> None:
    sample().save_coco(folder / "annotations.json", auto_ids=True)
    names = {name: name for name in CLASSES}
    expected = as_read(AnnotationSet.from_coco(folder / "annotations.json"), names)
    save("globox-coco", MADE_BY, folder, expected, labels=["cat", "dog"])


def voc(folder: Path) -> None:
    sample().save_pascal_voc(folder / "annotations")
    expected = as_read(AnnotationSet.from_pascal_voc(folder / "annotations"), {name: name for name in CLASSES})
    save("globox-voc", MADE_BY, folder, expected, labels=["cat", "dog"])


def yolo(folder: Path) -> None:
    sample().save_yolo_v5(folder / "labels", label_to_id=NUMBERS)
    found = AnnotationSet.from_yolo_v5(folder / "labels", image_folder=folder / "images")
    names = {str(number): f"class_{number}" for number in NUMBERS.values()}
    save(
        "globox-yolo",
        MADE_BY,
        folder,
        as_read(found, names),
        labels=["class_1", "class_2"],
        doubts={"NO_CLASS_NAMES": 3},
    )


for make in (coco, voc, yolo):
    with place() as scratch:
        write_images(scratch / "images")
        make(scratch)
