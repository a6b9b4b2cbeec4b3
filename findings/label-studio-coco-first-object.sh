#!/usr/bin/env bash
# The first object of every COCO export of Label Studio can never be found, says pycocotools' evaluation.
#
# Versions: label-studio-sdk 2.1.2, pycocotools 2.0.11, Python 3.11.
# Input:    three images with one rectangle each, exported as COCO; as detections the very same boxes with score 0.9.
# Expected: average precision 1.0.
# Seen:     0.442. Label Studio counts annotation ids from 0. COCOeval keeps for each detection the id of the object
#           that it met, and takes 0 for "none": the detection is a false positive and the object a miss. With all ids
#           raised by 1, and nothing else changed, the same evaluation says 1.0. On a large set the loss is too small to
#           be noticed, on a small one, or for a rare class whose object comes first, it is not.
# Instead:  number the annotations from 1 before any evaluation with pycocotools (or what copies its algorithm).
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile label-studio-sdk==2.1.2 pycocotools==2.0.11
venv/bin/python - <<'PY'
import contextlib
import io
import json
import logging
from pathlib import Path

from label_studio_sdk.converter import Converter
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

logging.disable(logging.CRITICAL)
config = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="bolt"/></RectangleLabels></View>"""
tasks = []
for number in (1, 2, 3):
    value = {"x": 10 * number, "y": 20, "width": 25, "height": 40, "rotation": 0, "rectanglelabels": ["bolt"]}
    region = {"id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": value}
    region |= {"original_width": 400, "original_height": 200, "image_rotation": 0}
    done = [{"id": number, "completed_by": 1, "result": [region]}]
    tasks.append({"id": number, "data": {"image": f"/data/{number}.jpg"}, "annotations": done})
Path("tasks.json").write_text(json.dumps(tasks))
converter = Converter(config, ".", download_resources=False)
converter.convert_to_coco("tasks.json", "coco", output_image_dir="coco/images", is_dir=False)
exported = json.loads(Path("coco/result.json").read_text())
found = [
    {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9}
    for one in exported["annotations"]
]


def average_precision(first: int) -> float:
    """Of perfect detections, where the ids of the objects begin with `first`."""
    objects = [one | {"id": number} for number, one in enumerate(exported["annotations"], first)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = exported | {"annotations": objects}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


ids = [one["id"] for one in exported["annotations"]]
print(f"exported ids: {ids}")
exported_ids, from_one = average_precision(0), average_precision(1)
print(f"average precision of the same boxes: {exported_ids:.3f} as exported, {from_one:.3f} from 1 on")
if ids != [0, 1, 2] or round(exported_ids, 3) != 0.442 or from_one < 0.999:
    raise SystemExit("this is not what the header says")
PY
