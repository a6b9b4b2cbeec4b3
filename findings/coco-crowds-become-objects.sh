#!/usr/bin/env bash
# COCO's crowd regions turn into ordinary objects in labelformat and globox, even from COCO to COCO.
#
# Versions: labelformat 0.1.17, globox 2.9.0, Python 3.11.
# Input:    COCO with a box of a cat, and a crowd of dogs (`iscrowd` 1, run lengths) over the whole image.
# Expected: the COCO that comes out still says `iscrowd` 1, and YOLO, which has no such thing, leaves the region out or
#           warns (Datumaro does both).
# Seen:     globox writes `iscrowd` 0; labelformat writes no `iscrowd` (nor `id`, nor `area`), which readers take for 0.
#           In both, YOLO has the region as one dog as large as the image. An evaluation then counts a miss where it
#           should look away, and a training learns one dog in place of many.
# Instead:  take crowds out before converting, and evaluate against the original file.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile labelformat==0.1.17 globox==2.9.0
venv/bin/python - <<'PY'
import json
from pathlib import Path

import globox
from labelformat.formats import COCOObjectDetectionInput, COCOObjectDetectionOutput, YOLOv8ObjectDetectionOutput
from PIL import Image

Image.new("RGB", (200, 100)).save("a.jpg")
cat = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0}
cat["segmentation"] = [[10, 20, 40, 20, 40, 60, 10, 60]]
dogs = {"id": 2, "image_id": 1, "category_id": 2, "bbox": [0, 0, 200, 100], "area": 20000, "iscrowd": 1}
dogs["segmentation"] = {"size": [100, 200], "counts": [0, 20000]}
categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
images = [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}]
Path("coco.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": [cat, dogs]}))

source = COCOObjectDetectionInput(input_file=Path("coco.json"))
COCOObjectDetectionOutput(output_file=Path("labelformat.json")).save(source)
YOLOv8ObjectDetectionOutput(output_file=Path("labelformat/data.yaml"), output_split="train").save(source)
held = globox.AnnotationSet.from_coco("coco.json")
held.save_coco("globox.json", auto_ids=True)
held.save_yolo_v5("globox", label_to_id={"cat": 0, "dog": 1})

seen = {}
for tool in ("labelformat", "globox"):
    objects = json.loads(Path(f"{tool}.json").read_text())["annotations"]
    crowds = [one.get("iscrowd") for one in objects]
    (label,) = Path(tool).rglob("a.txt")
    boxes = [line.split(maxsplit=1)[1] for line in label.read_text().splitlines()]
    print(f"{tool}: iscrowd {crowds} in COCO, boxes {boxes} in YOLO")
    seen[tool] = crowds, [float(one) for one in boxes[1].split()]
whole = [0.5, 0.5, 1.0, 1.0]
if seen != {"labelformat": ([None, None], whole), "globox": ([0, 0], whole)}:
    raise SystemExit("this is not what the header says")
PY
