#!/usr/bin/env bash
# One object in two parts becomes two objects when supervision turns COCO into YOLO or Pascal VOC.
#
# Versions: supervision 0.31.2, Python 3.11.
# Input:    COCO with one dog behind a post: box 50, 20, 100, 50, and two outlines, one on each side of the post.
# Expected: one dog; for detection its box, as the COCO file states it.
# Seen:     two dogs in both formats: Pascal VOC has a box around each part, YOLO an outline of each, which trainers
#           take for two objects (and for detection put a box around each). In memory it is still one. Nothing warns,
#           and `force_masks` or not makes no difference.
# Why care: counts and boxes of whatever is partly hidden are wrong in the labels, and the model learns halves.
# Instead:  set `detections.mask = None` on every image before writing for detection; the boxes are right then.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile supervision==0.31.2 opencv-python-headless==5.0.0.93
venv/bin/python - <<'PY'
import json
from pathlib import Path

import cv2
import numpy as np
import supervision as sv

cv2.imwrite("a.png", np.zeros((100, 200, 3), np.uint8))
parts = [[50, 20, 70, 20, 70, 70, 50, 70], [130, 20, 150, 20, 150, 70, 130, 70]]
dog = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [50, 20, 100, 50], "area": 2000, "iscrowd": 0}
images = [{"id": 1, "file_name": "a.png", "width": 200, "height": 100}]
coco = {"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": [dog | {"segmentation": parts}]}
Path("coco.json").write_text(json.dumps(coco))


def written(dataset: sv.DetectionDataset, folder: str) -> tuple[int, int, int]:
    """Objects in memory, in YOLO, in Pascal VOC."""
    dataset.as_yolo(annotations_directory_path=f"{folder}/yolo")
    dataset.as_pascal_voc(annotations_directory_path=f"{folder}/voc")
    lines = Path(folder, "yolo/a.txt").read_text().strip().splitlines()
    ((_, _, held),) = list(dataset)
    return len(held), len(lines), Path(folder, "voc/a.xml").read_text().count("<object>")


seen = []
for masks in (False, True):
    dataset = sv.DetectionDataset.from_coco(".", "coco.json", force_masks=masks)
    seen.append(written(dataset, f"masks-{masks}"))
for detections in dataset.annotations.values():
    detections.mask = None
seen.append(written(dataset, "without"))
for what, (held, yolo, voc) in zip(("as read", "force_masks", "mask = None"), seen, strict=True):
    print(f"{what}: {held} in memory, {yolo} in YOLO, {voc} in Pascal VOC")
print(Path("without/yolo/a.txt").read_text())
if seen != [(1, 2, 2), (1, 2, 2), (1, 1, 1)]:
    raise SystemExit("this is not what the header says")
PY
