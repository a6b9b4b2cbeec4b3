# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["labelformat==0.1.17", "pillow"]
# ///
"""labelformat's COCO, Pascal VOC and YOLO files, with the values that labelformat reads from them."""

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labelformat.formats import (
    COCOInstanceSegmentationInput,
    COCOInstanceSegmentationOutput,
    COCOObjectDetectionInput,
    COCOObjectDetectionOutput,
    PascalVOCObjectDetectionInput,
    PascalVOCObjectDetectionOutput,
    YOLOv8InstanceSegmentationInput,
    YOLOv8InstanceSegmentationOutput,
    YOLOv8ObjectDetectionInput,
    YOLOv8ObjectDetectionOutput,
)
from labelformat.model.bounding_box import BoundingBox, BoundingBoxFormat
from labelformat.model.category import Category
from labelformat.model.image import Image
from labelformat.model.instance_segmentation import (
    ImageInstanceSegmentation,
    InstanceSegmentationInput,
    SingleInstanceSegmentation,
)
from labelformat.model.multipolygon import MultiPolygon
from labelformat.model.object_detection import ImageObjectDetection, ObjectDetectionInput, SingleObjectDetection
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "labelformat 0.1.17"
CATEGORIES = [Category(id=number, name=name) for number, name in enumerate(CLASSES)]
IMAGES = [Image(number, name, width, height) for number, (name, (width, height)) in enumerate(SIZES.items())]


class _Sample:
    @staticmethod
    def add_cli_arguments(parser: ArgumentParser) -> None:
        raise NotImplementedError

    def get_categories(self) -> Iterable[Category]:
        return CATEGORIES

    def get_images(self) -> Iterable[Image]:
        return IMAGES


class Boxes(_Sample, ObjectDetectionInput):
    def get_labels(self) -> Iterable[ImageObjectDetection]:
        for one in IMAGES:
            found = [
                SingleObjectDetection(
                    CATEGORIES[CLASSES.index(label)],
                    BoundingBox.from_format(bbox=list(corners), format=BoundingBoxFormat.XYXY),
                )
                for label, corners in BOXES[one.filename]
            ]
            yield ImageObjectDetection(image=one, objects=found)


class Outlines(_Sample, InstanceSegmentationInput):
    def get_labels(self) -> Iterable[ImageInstanceSegmentation]:
        for one in IMAGES:
            found = [
                SingleInstanceSegmentation(CATEGORIES[CLASSES.index(label)], MultiPolygon(polygons=[list(points)]))
                for label, points in OUTLINES[one.filename]
            ]
            yield ImageInstanceSegmentation(image=one, objects=found)


def boxes_read(found: ObjectDetectionInput, split: str | None = None) -> Mapping[str, Any]:
    return {
        f"images/{one.image.filename}": image(
            [box(each.category.name, *each.box.to_format(BoundingBoxFormat.XYXY)) for each in one.objects],
            split=split,
        )
        for one in found.get_labels()
    }


def outlines_read(found: InstanceSegmentationInput, split: str | None = None) -> Mapping[str, Any]:
    return {
        f"images/{one.image.filename}": image(
            [outline(each.category.name, each.segmentation.polygons[0]) for each in one.objects], split=split
        )
        for one in found.get_labels()
    }


EMPTY = {"images/c.jpg": image([])}


def coco(folder: Path) -> None:
    path = folder / "labels.json"
    COCOObjectDetectionOutput(output_file=path).save(label_input=Boxes())
    save("labelformat-coco", MADE_BY, folder, EMPTY | dict(boxes_read(COCOObjectDetectionInput(input_file=path))))


def coco_outlines(folder: Path) -> None:
    path = folder / "labels.json"
    COCOInstanceSegmentationOutput(output_file=path).save(label_input=Outlines())
    expected = EMPTY | dict(outlines_read(COCOInstanceSegmentationInput(input_file=path)))
    save("labelformat-coco-outlines", MADE_BY, folder, expected)


def voc(folder: Path) -> None:
    PascalVOCObjectDetectionOutput(output_folder=folder / "annotations").save(label_input=Boxes())
    found = PascalVOCObjectDetectionInput(input_folder=folder / "annotations", category_names=",".join(CLASSES))
    save("labelformat-voc", MADE_BY, folder, boxes_read(found), labels=["cat", "dog"])


def yolo(folder: Path) -> None:
    YOLOv8ObjectDetectionOutput(output_file=folder / "data.yaml", output_split="train").save(label_input=Boxes())
    found = YOLOv8ObjectDetectionInput(input_file=folder / "data.yaml", input_split="train")
    save("labelformat-yolo", MADE_BY, folder, boxes_read(found, "train"))


def yolo_outlines(folder: Path) -> None:
    path = folder / "data.yaml"
    YOLOv8InstanceSegmentationOutput(output_file=path, output_split="train").save(label_input=Outlines())
    found = YOLOv8InstanceSegmentationInput(input_file=path, input_split="train")
    save("labelformat-yolo-outlines", MADE_BY, folder, outlines_read(found, "train"))


for make in (coco, coco_outlines, voc, yolo, yolo_outlines):
    with place() as scratch:
        write_images(scratch / "images")
        make(scratch)
