#!/usr/bin/env bash
# A rotated rectangle of Label Studio comes out at another place, in three formats, without a warning.
#
# Versions: label-studio-sdk 2.1.2 (its converter also makes the exports of the server), Python 3.11.
# Input:    an image of 400 x 200 pixels, a rectangle of 100 x 40 whose top left corner is (200, 50), turned by 90
#           degrees about that corner. It covers x 160 to 200, y 50 to 150: as a box (x, y, w, h) 160, 50, 40, 100.
# Expected: YOLO, Pascal VOC and COCO hold the upright box that encloses it, or the converter refuses.
# Seen:     YOLO and VOC hold the rectangle as if it were not turned: 200, 50, 100, 40, which it only touches. COCO
#           holds 120, 50, 80, 50: the corners are turned in percent of the width and of the height, which is a turn
#           only where the image is square.
# Instead:  compute the corners in pixels from the JSON (x, y, width, height are percent, the turn is clockwise about
#           the top left corner), or export YOLO with oriented boxes, which is right.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile label-studio-sdk==2.1.2
venv/bin/python - <<'PY'
import json
import logging
import xml.etree.ElementTree as ET
from pathlib import Path

from label_studio_sdk.converter import Converter

logging.disable(logging.CRITICAL)
WIDTH, HEIGHT = 400, 200
config = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="bolt"/></RectangleLabels></View>"""
value = {"x": 50, "y": 25, "width": 25, "height": 20, "rotation": 90, "rectanglelabels": ["bolt"]}
region = {"id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value}
region |= {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
task = {"id": 1, "data": {"image": "/data/a.jpg"}, "annotations": [{"id": 1, "completed_by": 1, "result": [region]}]}
Path("tasks.json").write_text(json.dumps([task]))

converter = Converter(config, ".", download_resources=False)
converter.convert_to_yolo("tasks.json", "yolo", output_image_dir="yolo/images", is_dir=False)
converter.convert_to_voc("tasks.json", "voc", output_image_dir="voc/images", is_dir=False)
converter.convert_to_coco("tasks.json", "coco", output_image_dir="coco/images", is_dir=False)

(label,) = Path("yolo/labels").glob("*.txt")
x, y, w, h = (float(one) for one in label.read_text().split()[1:])
yolo = [(x - w / 2) * WIDTH, (y - h / 2) * HEIGHT, w * WIDTH, h * HEIGHT]
(label,) = Path("voc").rglob("*.xml")
left, top, right, bottom = (int(ET.parse(label).findtext(f".//{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
voc = [left, top, right - left, bottom - top]
coco = json.loads(Path("coco/result.json").read_text())["annotations"][0]["bbox"]
seen = {name: [round(one) for one in box] for name, box in (("YOLO", yolo), ("VOC", voc), ("COCO", coco))}
for name, box in seen.items():
    print(f"{name}: {box}, right is [160, 50, 40, 100]")
if seen != {"YOLO": [200, 50, 100, 40], "VOC": [200, 50, 100, 40], "COCO": [120, 50, 80, 50]}:
    raise SystemExit("this is not what the header says")
PY
