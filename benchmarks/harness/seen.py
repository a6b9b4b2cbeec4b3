"""What a YOLOv8n sees on real photographs, and what is there, as arrays in a file; run with the worker's Python."""

import sys
from pathlib import Path

import numpy as np

from bloomery_recipe_yolo.foreign import Foreign
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_vision.decoders import YOLO
from bloomery_vision.formats import FolderSource, Format, read, understand
from bloomery_vision.images import decode
from bloomery_vision.interpret import EVALUATION, detect
from bloomery_vision.preprocess import letterbox

SIDE = 320


def main(weights: Path, folder: Path, target: Path) -> None:
    """Write the rows image, x1, y1, x2, y2, class (, score) of all objects and detections."""
    checkpoint = target.with_suffix(".pt")
    Foreign.read(weights).write(checkpoint, side=SIDE)
    model = TrainedModel(checkpoint, device="cpu")
    numbers = {name: number for number, name in enumerate(model.classes)}
    objects, found = [], []
    source = FolderSource(folder)
    for image, item in enumerate(read(source, understand(source, Format.COCO))):
        framed, transform = letterbox(decode(folder / item.image_path), (SIDE, SIDE))
        outputs = model(framed[None])[0][0]
        seen = detect(YOLO, outputs, len(model.classes), EVALUATION).on_image(transform).to_original(transform)
        kept = [shape for shape in item.shapes if shape.geometry.bounds is not None and not shape.crowd]
        for shape in kept:
            box = shape.geometry.bounds
            assert box is not None
            objects.append((image, box.x, box.y, box.x2, box.y2, numbers[shape.label]))
        rows = zip(seen.boxes.tolist(), seen.classes.tolist(), seen.scores.tolist(), strict=True)
        found += [(image, *corners, number, score) for corners, number, score in rows]
    np.savez(target, objects=np.array(objects), found=np.array(found), classes=len(model.classes))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
