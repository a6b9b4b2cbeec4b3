# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["imantics==0.1.12", "numpy<2", "opencv-python-headless==4.11.0.86", "pillow"]
# ///
"""COCO and Pascal VOC as imantics writes them, on which COCO Annotator is built, with what it was given."""

import json

import numpy as np
from imantics import Annotation, Category, Dataset, Image
from sample import BOXES, CLASSES, OUTLINES, SIZES, image, outline, place, save, write_images

MADE_BY = "imantics 0.1.12"


def sample(*, outlines: bool) -> Dataset:
    categories = {name: Category(name, id=number) for number, name in enumerate(CLASSES, 1)}
    found = Dataset("cells")
    for number, (name, (width, height)) in enumerate(SIZES.items(), 1):
        picture = Image(image_array=np.zeros((height, width, 3), np.uint8), path=name, id=number)
        picture.file_name = name
        if outlines:
            for label, points in OUTLINES[name]:
                ring = [number for point in points for number in point]
                picture.add(Annotation.from_polygons([ring], image=picture, category=categories[label]))
        else:
            for label, corners in BOXES[name]:
                picture.add(Annotation.from_bbox(list(corners), image=picture, category=categories[label]))
        found.add(picture)
    return found


with place() as scratch:
    write_images(scratch / "images")
    (scratch / "coco.json").write_text(json.dumps(sample(outlines=True).coco(), default=int))
    expected = {
        f"images/{name}": image(outline(label, points) for label, points in shapes) for name, shapes in OUTLINES.items()
    }
    save("imantics-coco-outlines", MADE_BY, scratch, expected, labels=["cat", "dog"])
