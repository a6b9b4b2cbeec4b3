#!/usr/bin/env bash
# pycocotools overwrites `ignore` of the annotations, so that objects marked to be ignored count as missed.
#
# Versions: pycocotools 2.0.11, Python 3.11.
# Input:    two images with an easy object each, which is found with score 0.9; the second image has one more, which is
#           not found and has `ignore` 1, as converters write VOC's difficult objects.
# Expected: average precision 1.0, as without that object: COCOeval's own code speaks of `ignore`.
# Seen:     0.663. `COCOeval` first takes the field as it is, then sets it to `iscrowd`. With `iscrowd` 1 on that object
#           it is 1.0.
# Why care: results on a converted VOC set are lower than those of VOC's own evaluation, which leaves difficult objects
#           out, and the field in the file makes one believe that they are.
# Instead:  for the evaluation write `iscrowd` 1 where `ignore` is 1 (a crowd may be met by many detections; that costs
#           nothing), and not for training, where crowds are left out.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pycocotools==2.0.11
venv/bin/python - <<'PY'
import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

EASY, HARD = [10.0, 10.0, 40.0, 40.0], [100.0, 10.0, 40.0, 40.0]


def average_precision(objects: list[tuple[int, list[float], int, int]]) -> float:
    """Where only EASY is found; objects are (image, box, ignore, iscrowd)."""
    same = {"category_id": 1, "area": 1600}
    annotations = [
        same | {"id": number, "image_id": image, "bbox": box, "ignore": ignore, "iscrowd": crowd}
        for number, (image, box, ignore, crowd) in enumerate(objects, 1)
    ]
    images = [{"id": image, "width": 200, "height": 100} for image in (1, 2)]
    found = [{"image_id": image, "category_id": 1, "bbox": EASY, "score": 0.9} for image in (1, 2)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "categories": [{"id": 1, "name": "bolt"}], "annotations": annotations}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[0]), 3)


easy = [(1, EASY, 0, 0), (2, EASY, 0, 0)]
seen = {
    "without the hard object": average_precision(easy),
    "with it": average_precision([*easy, (2, HARD, 0, 0)]),
    "with it, ignore 1": average_precision([*easy, (2, HARD, 1, 0)]),
    "with it, iscrowd 1": average_precision([*easy, (2, HARD, 1, 1)]),
}
for what, value in seen.items():
    print(f"{what}: {value}")
if list(seen.values()) != [1.0, 0.663, 0.663, 1.0]:
    raise SystemExit("this is not what the header says")
PY
