# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["sahi==0.12.8", "pillow"]
# ///
"""SAHI's COCO files, with the values that SAHI reads from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sahi.utils.coco import Coco, CocoAnnotation, CocoCategory, CocoImage
from sahi.utils.file import save_json
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "SAHI 0.12.8"


def annotations(name: str, *, outlines: bool) -> list[CocoAnnotation]:
    if outlines:
        return [
            CocoAnnotation(
                segmentation=[[number for point in points for number in point]],
                category_id=CLASSES.index(label),
                category_name=label,
            )
            for label, points in OUTLINES[name]
        ]
    return [
        CocoAnnotation(bbox=[x1, y1, x2 - x1, y2 - y1], category_id=CLASSES.index(label), category_name=label)
        for label, (x1, y1, x2, y2) in BOXES[name]
    ]


def as_read(path: Path, *, outlines: bool) -> Mapping[str, Any]:
    found = {}
    for one in Coco.from_coco_dict_or_path(str(path)).images:
        if outlines:
            shapes = [
                outline(each.category_name, zip(each.segmentation[0][::2], each.segmentation[0][1::2], strict=True))
                for each in one.annotations
            ]
        else:
            boxes = [(each.category_name, each.bbox) for each in one.annotations]
            shapes = [box(label, x, y, x + width, y + height) for label, (x, y, width, height) in boxes]
        found[f"images/{one.file_name}"] = image(shapes)
    return found


for kind, is_outlines in (("coco", False), ("coco-outlines", True)):
    with place() as scratch:
        write_images(scratch / "images")
        coco = Coco()
        for number, name in enumerate(CLASSES):
            coco.add_category(CocoCategory(id=number, name=name))
        for name, (width, height) in SIZES.items():
            picture = CocoImage(file_name=name, height=height, width=width)
            for one in annotations(name, outlines=is_outlines):
                picture.add_annotation(one)
            coco.add_image(picture)
        save_json(coco.json, str(scratch / "coco.json"))
        save(f"sahi-{kind}", MADE_BY, scratch, as_read(scratch / "coco.json", outlines=is_outlines))
