# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["label-studio-sdk==2.1.2", "pillow"]
# ///
"""Outlines as Label Studio's converter writes them: COCO, and YOLO.

It reads none of them itself, so the values are those of the tasks that it was given, and of Label Studio's own rule for
numbers: percent of a side.
"""

import json

from label_studio_sdk.converter import Converter
from sample import CLASSES, OUTLINES, SIZES, image, outline, place, save, write_images

MADE_BY = "Label Studio's converter (label-studio-sdk 2.1.2)"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="outline" toName="image">{labels}</PolygonLabels>
<RectangleLabels name="box" toName="image">{labels}</RectangleLabels></View>"""
LABELS = "".join(f'<Label value="{name}"/>' for name in CLASSES)
NAMES = {"a b.jpg": "1a2b3c4d-a_b.jpg", "b.jpg": "5e6f7a8b-b.jpg", "c.jpg": "9a8b7c6d-c.jpg"}
"""Label Studio's names of what is uploaded to it."""


def task(number: int, name: str) -> dict[str, object]:
    width, height = SIZES[name]
    about = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": "image"}
    results = [
        about
        | {
            "from_name": "outline",
            "type": "polygonlabels",
            "id": f"p{index}",
            "value": {
                "points": [[100 * x / width, 100 * y / height] for x, y in points],
                "closed": True,
                "polygonlabels": [label],
            },
        }
        for index, (label, points) in enumerate(OUTLINES[name])
    ]
    annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": results}
    return {"id": number, "data": {"image": f"/data/upload/1/{NAMES[name]}"}, "annotations": [annotation]}


expected = {
    f"images/{NAMES[name]}": image(outline(label, points) for label, points in shapes)
    for name, shapes in OUTLINES.items()
}
for kind in ("coco", "yolo"):
    with place() as scratch:
        tasks = scratch / "tasks.json"
        tasks.write_text(json.dumps([task(number, name) for number, name in enumerate(SIZES, 1)]))
        out = scratch / "out"
        converter = Converter(
            CONFIG.format(labels=LABELS), str(scratch), upload_dir=str(scratch), download_resources=False
        )
        convert = converter.convert_to_coco if kind == "coco" else converter.convert_to_yolo
        convert(str(tasks), str(out), is_dir=False)
        write_images(out / "images")
        for name, written in NAMES.items():
            (out / "images" / name).rename(out / "images" / written)
        save(f"label-studio-{kind}-outlines", MADE_BY, out, expected, labels=sorted(CLASSES))
