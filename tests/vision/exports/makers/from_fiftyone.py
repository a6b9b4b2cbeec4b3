# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["fiftyone==1.22.1"]
# ///
"""FiftyOne's COCO, Pascal VOC and YOLO exports, with the values that FiftyOne reads from them.

It wants a MongoDB: where its own cannot be installed, FIFTYONE_DATABASE_URI names one.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone import types
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "FiftyOne 1.22.1"


def sample(folder: Path, *, outlines: bool = False) -> Any:
    """A data set of FiftyOne, in which numbers are parts of the sides."""
    write_images(folder)
    dataset = fo.Dataset()
    for name, (width, height) in SIZES.items():
        if outlines:
            shapes = [
                fo.Polyline(
                    label=label, points=[[(x / width, y / height) for x, y in points]], closed=True, filled=True
                )
                for label, points in OUTLINES[name]
            ]
            labels = fo.Polylines(polylines=shapes)
        else:
            boxes = [
                fo.Detection(
                    label=label,
                    bounding_box=[x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height],
                    wet=True,
                    grade=2.5,
                )
                for label, (x1, y1, x2, y2) in BOXES[name]
            ]
            labels = fo.Detections(detections=boxes)
        dataset.add_sample(fo.Sample(filepath=str(folder / name), ground_truth=labels))
    return dataset


def as_read(
    folder: Path, dataset_type: Any, images: str, split: str | None = None, **options: Any
) -> Mapping[str, Any]:
    found = fo.Dataset.from_dir(str(folder), dataset_type=dataset_type, label_field="ground_truth", **options)
    found.compute_metadata()
    is_json = dataset_type is types.COCODetectionDataset
    expected = {}
    for one in found:
        width, height = one.metadata.width, one.metadata.height
        labels = one["ground_truth"] if one.has_field("ground_truth") else None
        boxes = labels.detections if isinstance(labels, fo.Detections) else []
        lines = labels.polylines if isinstance(labels, fo.Polylines) else []
        shapes = [
            box(each.label, *corners(each.bounding_box, width, height), **attributes(each, is_json=is_json))
            for each in boxes
        ] + [outline(each.label, [(x * width, y * height) for x, y in each.points[0]]) for each in lines]
        expected[f"{images}{Path(one.filepath).name}"] = image(shapes, split=split)
    return expected


def attributes(one: Any, *, is_json: bool) -> Mapping[str, str]:
    """What is told of an object, in the words of the file: those of JSON, or Python's."""
    found = {name: one[name] for name in ("wet", "grade") if one.has_field(name)}
    return {name: json.dumps(value) if is_json else str(value) for name, value in found.items()}


def corners(parts: Iterable[float], width: int, height: int) -> Iterable[float]:
    x, y, w, h = parts
    return x * width, y * height, (x + w) * width, (y + h) * height


def make(name: str, dataset_type: Any, images: str, *, outlines: bool = False, **more: Any) -> None:
    with place() as scratch:
        folder = scratch / "out"
        given, labels = more.pop("given", {}), more.pop("labels", CLASSES)
        dataset = sample(scratch / "in", outlines=outlines)
        dataset.export(
            str(folder), dataset_type=dataset_type, label_field="ground_truth", classes=list(CLASSES), **given
        )
        save(f"fiftyone-{name}", MADE_BY, folder, as_read(folder, dataset_type, images, **more), labels=labels)


make("coco", types.COCODetectionDataset, "data/", label_types="detections")
make(
    "coco-outlines", types.COCODetectionDataset, "data/", outlines=True, label_types="segmentations", use_polylines=True
)
make("voc", types.VOCDetectionDataset, "data/", labels=["cat", "dog"])
make("yolo4", types.YOLOv4Dataset, "data/")
make("yolo5", types.YOLOv5Dataset, "images/val/", split="val", given={"split": "val"})
