#!/usr/bin/env bash
# The same class has one number in train and another in val, when both are read from Pascal VOC by supervision.
#
# Versions: supervision 0.31.2, Python 3.11.
# Input:    train/ with a.xml (cat) and b.xml (dog); val/ with c.xml (dog) and d.xml (cat).
# Expected: a class has one number; alphabetical order, say, as the same library's `from_folder_structure` uses.
# Seen:     `DetectionDataset.from_pascal_voc` numbers classes in the order in which it meets them. train: cat 0, dog 1;
#           val: dog 0, cat 1. Both written with `as_yolo` for one data.yaml, every label of val is of the wrong class;
#           nothing warns, and the only sign is a validation that does not improve.
# Instead:  read all splits first, remap the `class_id` of each to one sorted list of all names, and check that
#           `train.classes == val.classes` before writing.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile supervision==0.31.2 opencv-python-headless==5.0.0.93
venv/bin/python - <<'PY'
from pathlib import Path

import cv2
import numpy as np
import supervision as sv

for folder, name, label in (("train", "a", "cat"), ("train", "b", "dog"), ("val", "c", "dog"), ("val", "d", "cat")):
    Path(folder).mkdir(exist_ok=True)
    cv2.imwrite(f"{folder}/{name}.png", np.zeros((100, 200, 3), np.uint8))
    box = "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
    Path(folder, f"{name}.xml").write_text(
        f"<annotation><filename>{name}.png</filename><size><width>200</width><height>100</height><depth>3</depth>"
        f"</size><object><name>{label}</name>{box}</object></annotation>"
    )

seen = {}
for folder in ("train", "val"):
    dataset = sv.DetectionDataset.from_pascal_voc(folder, folder)
    dataset.as_yolo(annotations_directory_path=f"yolo/{folder}")
    numbers = {file.stem: int(file.read_text().split()[0]) for file in sorted(Path("yolo", folder).glob("*.txt"))}
    seen[folder] = (dataset.classes, numbers)
    print(f"{folder}: classes {dataset.classes}, class numbers in the YOLO files {numbers}")
if seen != {"train": (["cat", "dog"], {"a": 0, "b": 1}), "val": (["dog", "cat"], {"c": 0, "d": 1})}:
    raise SystemExit("this is not what the header says")
PY
