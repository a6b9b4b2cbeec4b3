"""One evaluation of detections by ours: average precisions, thresholds, confusion, calibration and records; JSON."""

import json
import resource
import sys
import time

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.calibration import detection_reliability
from bloomery_vision.confusion import detection_confusion
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.matching import compare_boxes
from bloomery_vision.metrics import detection_metrics
from bloomery_vision.postprocess import Detections
from bloomery_vision.records import detection_records, to_parquet
from bloomery_vision.scenes import GroundTruth


def images_of(table: NDArray[np.float64], count: int) -> list[NDArray[np.float64]]:
    """The rows of each image, which stand together."""
    return np.split(table[:, 1:], np.searchsorted(table[:, 0], np.arange(1, count)))


def main(path: str) -> None:
    """Evaluate what is in a file of arrays."""
    content = np.load(path)
    count, classes = int(content["images"]), int(content["classes"])
    truth = [GroundTruth(rows[:, :4], rows[:, 4].astype(np.int64)) for rows in images_of(content["objects"], count)]
    found = [
        Detections(rows[:, :4].astype(np.float32), rows[:, 5].astype(np.float32), rows[:, 4].astype(np.int64))
        for rows in images_of(content["found"], count)
    ]
    images = [ManifestRow(f"a/{n}", "", "", 1, "", 1, 1, "test", "", f"{n}.jpg") for n in range(count)]
    before, wall = time.process_time(), time.monotonic()
    comparison = compare_boxes(found, truth)
    metrics = detection_metrics(comparison, num_classes=classes)
    detection_confusion(comparison, confidence=metrics.overall.confidence, num_classes=classes)
    detection_reliability(comparison)
    names = [str(number) for number in range(classes)]
    to_parquet(detection_records(images, {"": comparison}, classes=names))
    taken = {"processor": time.process_time() - before, "wall": time.monotonic() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**taken, "map50_95": metrics.map50_95, "peak": peak}))


if __name__ == "__main__":
    main(sys.argv[1])
