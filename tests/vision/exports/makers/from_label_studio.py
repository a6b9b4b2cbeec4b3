# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["label-studio-sdk==2.1.2", "pillow"]
# ///
"""Boxes and outlines as Label Studio's converter writes them.

It reads none of them itself, so the values are those of the tasks that it was given, and of Label Studio's own rule for
numbers: percent of a side.
"""

import json
import shutil

from label_studio_sdk.converter import Converter
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "Label Studio's converter (label-studio-sdk 2.1.2)"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="outline" toName="image">{labels}</PolygonLabels>
<RectangleLabels name="box" toName="image">{labels}</RectangleLabels></View>"""
LABELS = "".join(f'<Label value="{name}"/>' for name in CLASSES)
NAMES = {"a b.jpg": "1a2b3c4d-a_b.jpg", "b.jpg": "5e6f7a8b-b.jpg", "c.jpg": "9a8b7c6d-c.jpg"}
"""Label Studio's names of what is uploaded to it."""


def outlines(name: str) -> list[dict[str, object]]:
    width, height = SIZES[name]
    return [
        {
            "from_name": "outline",
            "type": "polygonlabels",
            "value": {
                "points": [[100 * x / width, 100 * y / height] for x, y in points],
                "closed": True,
                "polygonlabels": [label],
            },
        }
        for label, points in OUTLINES[name]
    ]


def boxes(name: str) -> list[dict[str, object]]:
    width, height = SIZES[name]
    return [
        {
            "from_name": "box",
            "type": "rectanglelabels",
            "value": {
                "x": 100 * x1 / width,
                "y": 100 * y1 / height,
                "width": 100 * (x2 - x1) / width,
                "height": 100 * (y2 - y1) / height,
                "rotation": 0,
                "rectanglelabels": [label],
            },
        }
        for label, (x1, y1, x2, y2) in BOXES[name]
    ]


def task(number: int, name: str, results: list[dict[str, object]]) -> dict[str, object]:
    width, height = SIZES[name]
    about = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": "image"}
    result = [{**about, **one, "id": f"r{index}"} for index, one in enumerate(results)]
    annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": result}
    return {"id": number, "data": {"image": f"/data/upload/1/{NAMES[name]}"}, "annotations": [annotation]}


def expected(kind: str, shapes: str) -> dict[str, object]:
    """Pascal VOC has no file of an image without objects; oriented boxes are outlines of four corners."""
    found = {}
    for name, written in NAMES.items():
        told = [box(label, *corners) for label, corners in BOXES[name]]
        if shapes == "outlines":
            told = [outline(label, points) for label, points in OUTLINES[name]]
        elif kind == "yolo-obb":
            told = [outline(label, [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) for label, (x1, y1, x2, y2) in BOXES[name]]
        found[f"images/{written}"] = image(told, annotated=kind != "voc" or bool(BOXES[name]))
    return found


for kind, shapes in (
    ("coco", "boxes"),
    ("voc", "boxes"),
    ("yolo", "boxes"),
    ("yolo-obb", "boxes"),
    ("coco", "outlines"),
    ("yolo", "outlines"),
):
    with place() as scratch:
        tasks, out = scratch / "tasks.json", scratch / "out"
        made = outlines if shapes == "outlines" else boxes
        tasks.write_text(json.dumps([task(number, name, made(name)) for number, name in enumerate(SIZES, 1)]))
        converter = Converter(
            CONFIG.format(labels=LABELS), str(scratch), upload_dir=str(scratch), download_resources=False
        )
        write_images(out / "images")
        for name, written in NAMES.items():
            (out / "images" / name).rename(out / "images" / written)
        match kind:
            case "coco":
                converter.convert_to_coco(str(tasks), str(out), is_dir=False)
            case "voc":
                # It wants to open the images.
                shutil.copytree(out / "images", scratch, dirs_exist_ok=True)
                converter.convert_to_voc(str(tasks), str(out), is_dir=False)
            case _:
                converter.convert_to_yolo(str(tasks), str(out), is_dir=False, is_obb=kind == "yolo-obb")
        ending = "-outlines" if shapes == "outlines" else ""
        labels = sorted(CLASSES)[: 2 if kind == "voc" else 3]
        save(f"label-studio-{kind}{ending}", MADE_BY, out, expected(kind, shapes), labels=labels)
