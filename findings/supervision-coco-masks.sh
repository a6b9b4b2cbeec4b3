#!/usr/bin/env bash
# Reading a COCO file with masks and writing it again with supervision shrinks the masks and fills their holes.
#
# Versions: supervision 0.31.2, opencv-python-headless 5.0.0.93, pycocotools 2.0.11, Python 3.11.
# Input:    run lengths with `iscrowd` 0 of 20 x 20 pixels (400), of 4 x 4 (16), and a ring of 20 x 20 without its inner
#           12 x 12 (256).
# Expected: the file that `DetectionDataset.as_coco` writes decodes to the same pixels.
# Seen:     400 becomes 361, 16 becomes 9, 256 becomes 361, beside an `area` of 400, 16 and 256 in the file. The masks
#           in memory are right. The outlines are OpenCV's contours, which go through the centres of the outer pixels;
#           COCO's go round the pixels, so a row and a column are lost. The hole is written as a second outline of the
#           object, and several outlines are a union in COCO, never a hole.
# Instead:  write run lengths (`pycocotools.mask.encode`) from the masks in memory.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile supervision==0.31.2 opencv-python-headless==5.0.0.93 pycocotools==2.0.11
venv/bin/python - <<'PY'
import json
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from pycocotools import mask as rle
from pycocotools.coco import COCO

masks = np.zeros((3, 100, 200), np.uint8)
masks[0, 10:30, 10:30] = 1
masks[1, 10:14, 60:64] = 1
masks[2, 50:70, 50:70] = 1
masks[2, 54:66, 54:66] = 0
cv2.imwrite("a.png", np.zeros((100, 200, 3), np.uint8))
objects = []
for number, mask in enumerate(masks, 1):
    flat = np.concatenate(([0], mask.flatten(order="F"), [1 - mask[-1, -1]]))
    changes = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate(([0], changes))).tolist()
    encoded = rle.encode(np.asfortranarray(mask))
    one = {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": int(mask.sum())}
    objects.append(one | {"bbox": rle.toBbox(encoded).tolist(), "segmentation": {"size": [100, 200], "counts": counts}})
images = [{"id": 1, "file_name": "a.png", "width": 200, "height": 100}]
before = {"images": images, "categories": [{"id": 1, "name": "bolt"}], "annotations": objects}
Path("before.json").write_text(json.dumps(before))

dataset = sv.DetectionDataset.from_coco(".", "before.json", force_masks=True)
((_, _, held),) = list(dataset)
dataset.as_coco(annotations_path="after.json")


def pixels(file: str) -> list[int]:
    coco = COCO(file)
    return [int(coco.annToMask(one).sum()) for one in coco.loadAnns(coco.getAnnIds())]


stated = [round(one["area"]) for one in json.loads(Path("after.json").read_text())["annotations"]]
seen = [pixels("before.json"), [int(one.sum()) for one in held.mask], pixels("after.json"), stated]
for what, numbers in zip(("before", "in memory", "after", "`area` after"), seen, strict=True):
    print(f"{what}: {numbers} pixels")
if seen != [[400, 16, 256], [400, 16, 256], [361, 9, 361], [400, 16, 256]]:
    raise SystemExit("this is not what the header says")
PY
