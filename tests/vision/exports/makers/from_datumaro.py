# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["datumaro==1.13.12", "pillow"]
# ///
"""Datumaro's COCO, Pascal VOC and YOLO files, with the values that Datumaro reads from them."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from sample import CLASSES, box, image, outline, place, save

MADE_BY = "Datumaro 1.13.12"
SPLITS = {"shelf 1": "train", "cam1/0001": "train", "cam2/0001": "val", "café": "val"}
SIZES = {"shelf 1": (200, 100), "cam1/0001": (120, 80), "cam2/0001": (120, 80), "café": (64, 48)}
NUMBERS = {name: number for number, name in enumerate(CLASSES)}
SQUARE = [(10, 20), (60, 20), (60, 70), (10, 70)]


def boxes() -> Mapping[str, Iterable[Any]]:
    return {
        "shelf 1": [
            Bbox(50, 40, 100, 10, label=NUMBERS["cat"], attributes={"occluded": False, "grade": 2.5, "note": "left"}),
            Bbox(10.25, 20.5, 30, 40, label=NUMBERS["dog"]),
        ],
        "cam1/0001": [Bbox(0, 0, 120, 80, label=NUMBERS["dog"])],
        "cam2/0001": [
            Polygon(list(chain(*SQUARE)), label=NUMBERS["cat"]),
            Bbox(12.34, 8, 20, 20, label=NUMBERS["dog"]),
        ],
        "café": [],
    }


def items() -> Iterable[DatasetItem]:
    for number, (name, shapes) in enumerate(boxes().items()):
        width, height = SIZES[name]
        pixels = np.full((height, width, 3), 90, dtype=np.uint8)
        media = Image.from_numpy(data=pixels, ext=".jpg", size=(height, width))
        yield DatasetItem(name, subset=SPLITS[name], annotations=shapes, media=media, attributes={"id": number + 1})


def told(one: Any, label: str, attributes: Iterable[str]) -> Any:
    if one.type is AnnotationType.polygon:
        return outline(label, zip(one.points[::2], one.points[1::2], strict=True))
    x, y, width, height = one.get_bbox()
    names = [name for name in attributes if name in one.attributes]
    return box(label, x, y, x + width, y + height, **{name: text(one.attributes[name]) for name in names})


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_read(folder: Path, file_format: str) -> Mapping[str, Any]:
    found = Dataset.import_from(str(folder), {"coco": "coco_instances", "voc": "voc"}.get(file_format, "yolo"))
    names = found.categories()[AnnotationType.label]
    pictures = {path.with_suffix("").relative_to(folder).as_posix(): path for path in folder.rglob("*.jpg")}
    expected = {}
    for item in found:
        split = {"train": "train", "val": "val"}[item.subset]
        (path,) = (path for stem, path in pictures.items() if stem.endswith(f"/{item.id}") and in_split(path, split))
        # Its reader of COCO turns the order round, and gives the box of an outline too; that of Pascal VOC says of each
        # box that it is not occluded.
        attributes = ("grade", "note") if file_format == "voc" else ("grade", "note", "occluded")
        outlined = [one.get_bbox() for one in item.annotations if one.type is AnnotationType.polygon]
        shapes = [
            told(one, names[one.label].name, attributes)
            for one in sorted(item.annotations, key=lambda one: one.label)
            if one.type is AnnotationType.polygon or one.get_bbox() not in outlined
        ]
        has_file = file_format != "voc" or bool(shapes)
        expected[path.relative_to(folder).as_posix()] = image(shapes, split=split, annotated=has_file)
    return expected


def in_split(path: Path, split: str) -> bool:
    return split in str(path) or not any(one in str(path) for one in ("train", "val"))


def write(folder: Path, file_format: str) -> None:
    categories = {AnnotationType.label: LabelCategories.from_iterable(CLASSES)}
    Dataset.from_iterable(list(items()), categories=categories).export(str(folder), file_format, save_media=True)


for name in ("coco", "voc", "yolo"):
    with place() as scratch:
        write(scratch, name)
        save(f"datumaro-{name}", MADE_BY, scratch, as_read(scratch, name))
with place() as scratch:
    write(scratch / "yolo", "yolo")
    write(scratch / "ultralytics", "yolo_ultralytics")
    # It does not read images in folders from what it writes for Ultralytics, and writes the same lines for both.
    expected = {
        name.replace("obj_", "images/").replace("_data", ""): one
        for name, one in as_read(scratch / "yolo", "yolo").items()
    }
    save("datumaro-yolo-ultralytics", MADE_BY, scratch / "ultralytics", expected)
