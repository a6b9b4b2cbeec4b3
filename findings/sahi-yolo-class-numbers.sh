#!/usr/bin/env bash
# sahi's YOLO export numbers classes by the ids of COCO, and lists their names without gaps.
#
# Versions: sahi 0.12.8, Python 3.11.
# Input:    COCO with categories cat (id 1) and dog (id 2), one object each: ids from 1 on, as most COCO files have.
# Expected: class numbers that index the list of names: cat 0, dog 1.
# Seen:     the label file says 1 and 2, data.yml says `nc: 2`, `names: [cat, dog]`. So the cat is a dog, and the number
#           of the dog is out of range; trainers leave out an image with such a number, or fail. Nothing warns.
# Instead:  renumber the categories from 0 in the COCO file first (`Coco.update_categories` with numbers from 0).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile sahi==0.12.8
venv/bin/python - <<'PY'
import json
from pathlib import Path

from PIL import Image
from sahi.utils.coco import Coco, export_coco_as_yolo

Image.new("RGB", (200, 100)).save("a.jpg")
boxes = {"cat": [10, 20, 30, 40], "dog": [100, 0, 50, 50]}
categories = [{"id": number, "name": name} for number, name in enumerate(boxes, 1)]
objects = [
    {"id": number, "image_id": 1, "category_id": number, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
    for number, box in enumerate(boxes.values(), 1)
]
images = [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}]
Path("coco.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": objects}))

coco = Coco.from_coco_dict_or_path("coco.json", image_dir=".")
data = Path(export_coco_as_yolo("yolo", train_coco=coco, val_coco=coco)).read_text()
label = next(Path("yolo/train").glob("*.txt")).read_text()
print(data, label, sep="\n")
if [line.split()[0] for line in label.splitlines() if line] != ["1", "2"] or "- cat\n- dog\nnc: 2" not in data:
    raise SystemExit("this is not what the header says")
PY
