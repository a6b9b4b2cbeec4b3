"""One evaluation of detections by pycocotools or faster-coco-eval, in an environment of its own; prints JSON.

The lists that these take are made before the time starts. Processor time counts: others use the machine, too.
"""

import contextlib
import io
import json
import resource
import sys
import time

import numpy as np
from numpy.typing import NDArray


def records(table: NDArray[np.float64], *, scored: bool) -> list[dict[str, object]]:
    """Objects or detections in COCO's JSON form."""
    found: list[dict[str, object]] = []
    for number, row in enumerate(table.tolist(), 1):
        image, x1, y1, x2, y2, category, *score = row
        box = [x1, y1, x2 - x1, y2 - y1]
        common = {"image_id": int(image) + 1, "category_id": int(category), "bbox": box}
        own: dict[str, object] = (
            {"score": score[0]} if scored else {"id": number, "area": box[2] * box[3], "iscrowd": 0}
        )
        found.append(common | own)
    return found


def main(name: str, path: str) -> None:
    """Evaluate what is in a file of arrays."""
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO  # type: ignore[import-not-found, no-redef]
        from faster_coco_eval import COCOeval_faster as COCOeval  # type: ignore[no-redef]
    content = np.load(path)
    truth, results = records(content["objects"], scored=False), records(content["found"], scored=True)
    dataset = {
        "images": [{"id": image + 1, "width": 640, "height": 640} for image in range(int(content["images"]))],
        "annotations": truth,
        "categories": [{"id": number, "name": str(number)} for number in range(int(content["classes"]))],
    }
    before, wall = time.process_time(), time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset  # type: ignore[assignment]
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), iouType="bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    taken = {"processor": time.process_time() - before, "wall": time.monotonic() - wall}
    precision = np.asarray(evaluation.eval["precision"])[..., 0, 2]
    mean = float(precision[precision > -1].mean())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**taken, "map50_95": mean, "peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
