#!/usr/bin/env bash
# COCO that Datumaro reads and writes is another data set: other category ids, and masks without their holes.
#
# Versions: datumaro 1.13.12, pycocotools 2.0.11, Python 3.11.
# Input:    categories cat (id 3) and dog (id 7), as in any selection of COCO's classes; a cat of 20 x 20 pixels as run
#           lengths (400), a dog that is a ring of 20 x 20 without its inner 12 x 12 (256), both with `iscrowd` 0.
# Expected: `import_from` and `export` in the same format change nothing.
# Seen:     cat is 1 and dog is 2, while the image ids are kept: detections of a model that was trained with the old
#           file are scored as other classes, or not at all. Both masks are 361 pixels: an outline through the centres
#           of the outer pixels takes the place of run lengths, and the hole is gone. `area` is computed anew from that.
# Instead:  map categories by name, never by id, after each conversion. Take masks from the original file, or export
#           them with the option `segmentation_mode="mask"`, which keeps run lengths.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile datumaro==1.13.12 pycocotools==2.0.11
venv/bin/python - <<'PY'
import contextlib
import io
import json
from pathlib import Path

import numpy as np
from datumaro import Dataset
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO


def run_lengths(mask: np.ndarray) -> list[int]:
    flat = np.concatenate(([0], mask.flatten(order="F"), [1 - mask[-1, -1]]))
    return np.diff(np.concatenate(([0], np.flatnonzero(np.diff(flat.astype(int)))))).tolist()


def described(file: str) -> dict[str, tuple[int, int]]:
    """Id and pixels by the name of the class."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(file)
    names = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    objects = coco.loadAnns(coco.getAnnIds())
    return {names[one["category_id"]]: (one["category_id"], int(coco.annToMask(one).sum())) for one in objects}


masks = np.zeros((2, 100, 200), np.uint8)
masks[0, 10:30, 10:30] = 1
masks[1, 50:70, 50:70] = 1
masks[1, 54:66, 54:66] = 0
objects = []
for number, (mask, category) in enumerate(zip(masks, (3, 7), strict=True), 1):
    box = rle.toBbox(rle.encode(np.asfortranarray(mask))).tolist()
    one = {"id": number, "image_id": 11, "category_id": category, "iscrowd": 0, "area": int(mask.sum()), "bbox": box}
    objects.append(one | {"segmentation": {"size": [100, 200], "counts": run_lengths(mask)}})
categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
images = [{"id": 11, "file_name": "a.jpg", "width": 200, "height": 100}]
Path("before/images/train").mkdir(parents=True)
Path("before/annotations").mkdir()
Image.new("RGB", (200, 100)).save("before/images/train/a.jpg")
file = "annotations/instances_train.json"
Path("before", file).write_text(json.dumps({"images": images, "categories": categories, "annotations": objects}))

Dataset.import_from("before", "coco_instances").export("after", "coco_instances")
Dataset.import_from("before", "coco_instances").export("masks", "coco_instances", segmentation_mode="mask")
seen = {folder: described(f"{folder}/{file}") for folder in ("before", "after", "masks")}
for folder, classes in seen.items():
    print(folder, {name: f"id {number}, {pixels} pixels" for name, (number, pixels) in classes.items()})
expected = {
    "before": {"cat": (3, 400), "dog": (7, 256)},
    "after": {"cat": (1, 361), "dog": (2, 361)},
    "masks": {"cat": (1, 400), "dog": (2, 256)},
}
if seen != expected:
    raise SystemExit("this is not what the header says")
PY
