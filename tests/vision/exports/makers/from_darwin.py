# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["darwin-py==3.6.3", "pillow"]
# ///
"""V7 Darwin's COCO, Pascal VOC and YOLO exports; it reads none itself, so the values are those that it was given."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import darwin.datatypes as dt
from darwin.exporter.formats import coco, pascalvoc, yolo, yolo_segmented
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "darwin-py 3.6.3"


def boxes(name: str) -> list[Any]:
    return [dt.make_bounding_box(label, x1, y1, x2 - x1, y2 - y1) for label, (x1, y1, x2, y2) in BOXES[name]]


def outlines(name: str) -> list[Any]:
    found = []
    for label, points in OUTLINES[name]:
        xs, ys = zip(*points, strict=True)
        bounds = {"x": min(xs), "y": min(ys), "w": max(xs) - min(xs), "h": max(ys) - min(ys)}
        found.append(dt.make_polygon(label, [{"x": x, "y": y} for x, y in points], bounding_box=bounds))
    return found


def sample(shapes: Callable[[str], list[Any]]) -> list[dt.AnnotationFile]:
    return [
        dt.AnnotationFile(
            path=Path(f"{Path(name).stem}.json"),
            filename=name,
            # A list, because the order of a set is another one each time.
            annotation_classes=[dt.AnnotationClass(label, "bounding_box") for label in CLASSES],
            annotations=shapes(name),
            image_width=width,
            image_height=height,
            remote_path="/",
            seq=number,
        )
        for number, (name, (width, height)) in enumerate(SIZES.items(), 1)
    ]


BOXES_READ = {
    f"images/{name}": image(box(label, *corners) for label, corners in shapes) for name, shapes in BOXES.items()
}
CORNERS_READ = {
    f"images/{name}": image(
        outline(label, [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) for label, (x1, y1, x2, y2) in shapes
    )
    for name, shapes in BOXES.items()
}
"""Of boxes it writes the corners as outlines into COCO files."""
OUTLINES_READ = {
    f"images/{name}": image(outline(label, points) for label, points in shapes) for name, shapes in OUTLINES.items()
}
for name, exporter, shapes, expected in (
    ("coco", coco, boxes, CORNERS_READ),
    ("coco-outlines", coco, outlines, OUTLINES_READ),
    ("voc", pascalvoc, boxes, BOXES_READ),
    ("yolo", yolo, boxes, BOXES_READ),
    ("yolo-outlines", yolo_segmented, outlines, OUTLINES_READ),
):
    with place() as scratch:
        write_images(scratch / "images")
        (scratch / "annotations").mkdir()
        exporter.export(sample(shapes), scratch / "annotations")
        labels = CLASSES[1:]
        if exporter is coco:
            # Its categories are in the order of numbers that it makes of their names.
            (path,) = (scratch / "annotations").glob("*.json")
            labels = [one["name"] for one in json.loads(path.read_text())["categories"]]
        save(f"darwin-{name}", MADE_BY, scratch, expected, labels=labels)
