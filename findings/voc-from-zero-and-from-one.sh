#!/usr/bin/env bash
# Pascal VOC that Datumaro writes grows by a pixel at the left and the top when supervision reads it.
#
# Versions: datumaro 1.13.12, supervision 0.31.2, Python 3.11.
# Input:    a box from x 10 to 30, y 20 to 60 (edges, from 0), written by Datumaro as Pascal VOC, read by supervision,
#           and the other way round.
# Expected: the same box: Pascal VOC counts pixels from 1.
# Seen:     Datumaro writes 10, 20, 30, 60, counted from 0 (its option `coordinate_mode="voc-one-based"` counts from 1);
#           supervision takes 1 off the left and upper edges: 9, 19, 30, 60. The other way the box comes back as 11, 21,
#           30, 60. The file says nowhere from what it counts.
# Why care: of a box of 8 x 8 pixels 0.79 still overlaps (IoU): a perfect detector fails four of the ten thresholds of
#           COCO's metric.
# Instead:  with Datumaro, say `coordinate_mode="voc-one-based"`; after each conversion compare one box with its
#           picture.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile datumaro==1.13.12 supervision==0.31.2
venv/bin/python - <<'PY'
import shutil
from pathlib import Path

import numpy as np
import supervision as sv
from datumaro import AnnotationType, Bbox, Dataset, DatasetItem, Image
from PIL import Image as Picture

BOX = [10, 20, 30, 60]
Picture.new("RGB", (200, 100)).save("a.jpg")


def read_by_supervision(folder: str) -> list[int]:
    dataset = sv.DetectionDataset.from_pascal_voc(f"{folder}/JPEGImages", f"{folder}/Annotations")
    ((_, _, found),) = list(dataset)
    return [round(one) for one in found.xyxy[0]]


def read_by_datumaro(folder: str) -> list[int]:
    (item,) = Dataset.import_from(folder, "voc_detection")
    (box,) = (one for one in item.annotations if one.type == AnnotationType.bbox)
    return [round(one) for one in box.points]


media = Image.from_file("a.jpg")
x1, y1, x2, y2 = BOX
item = DatasetItem("a", subset="train", media=media, annotations=[Bbox(x1, y1, x2 - x1, y2 - y1, label=0)])
made = Dataset.from_iterable([item], categories=["bolt"])
made.export("datumaro", "voc_detection", save_media=True)
made.export("from-one", "voc_detection", save_media=True, coordinate_mode="voc-one-based")

Path("supervision/ImageSets/Main").mkdir(parents=True)
Path("supervision/ImageSets/Main/train.txt").write_text("a\n")
shutil.copy("datumaro/labelmap.txt", "supervision")
found = sv.Detections(np.array([BOX], float), class_id=np.zeros(1, int))
sv.DetectionDataset(["bolt"], ["a.jpg"], {"a.jpg": found}).as_pascal_voc(
    images_directory_path="supervision/JPEGImages", annotations_directory_path="supervision/Annotations"
)
seen = {
    "Datumaro to supervision": read_by_supervision("datumaro"),
    "Datumaro, voc-one-based, to supervision": read_by_supervision("from-one"),
    "supervision to Datumaro": read_by_datumaro("supervision"),
}
for way, box in seen.items():
    print(f"{way}: {box} of {BOX}")
if list(seen.values()) != [[9, 19, 30, 60], BOX, [11, 21, 30, 60]]:
    raise SystemExit("this is not what the header says")
PY
