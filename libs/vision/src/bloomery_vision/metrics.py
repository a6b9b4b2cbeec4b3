"""How good detections and their masks are, measured as COCO does.

Average precision is the mean of the interpolated precision at 101 recalls, matching at most one detection with each
object, best score first; mAP50-95 is its mean over the thresholds of overlap 0.50, 0.55, ..., 0.95 and over the classes
that have objects (Lin et al., Microsoft COCO, 2014; cocodataset/cocoapi, `cocoeval.py`). Crowds count neither way. The
work is done by faster-coco-eval, the same algorithm in C++.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask
from bloomery_vision.postprocess import Detections

_Records = list[dict[str, object]]
"""Objects or detections in COCO's JSON form, image by image."""


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The objects that are on one image.

    Attributes:
        boxes: [N, 4], corners x1, y1, x2, y2, in the frame of the predictions.
        classes: [N], class numbers.
        crowd: bool [N], regions that count neither way; None where there are none.
    """

    boxes: NDArray[np.floating]
    classes: NDArray[np.integer]
    crowd: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class that has objects. `index` is its number, `instances` how many objects it has without crowds.

    `precision` and `recall` are those of the threshold `confidence` at which their harmonic mean is highest, at an
    overlap of 0.5; they and the average precisions are 0 to 1.
    """

    index: int
    ap50: float
    ap50_95: float
    precision: float
    recall: float
    confidence: float
    instances: int


@dataclass(frozen=True, slots=True)
class DetectionMetrics:
    """Means over the classes that have objects, 0 to 1; all 0 where there are none."""

    map50: float
    map50_95: float
    precision: float
    recall: float
    per_class: tuple[ClassMetrics, ...]


def detection_metrics(
    predictions: Sequence[Detections], ground_truth: Sequence[GroundTruth], *, num_classes: int, max_det: int = 300
) -> DetectionMetrics:
    """Compares the predictions on each image with what is there.

    Args:
        predictions: one an image, not thresholded: the curves need the weak ones (`conf=0.001`).
        ground_truth: one an image, in the same order.
        num_classes: class numbers are below it.
        max_det: the most detections of one class on one image that count.
    """
    _check_counts(len(predictions), len(ground_truth))
    records = _prediction_records(predictions), _truth_records(ground_truth)
    return _measured(_instances(ground_truth, num_classes), *records, images=len(ground_truth), max_det=max_det)


def mask_metrics(
    predictions: Sequence[Detections],
    masks: Sequence[Sequence[Mask]],
    ground_truth: Sequence[GroundTruth],
    true_masks: Sequence[Sequence[Mask]],
    *,
    num_classes: int,
    max_det: int = 300,
) -> DetectionMetrics:
    """The same by the overlap of masks; boxes do not count.

    A prediction's overlap with a crowd is the part of the prediction that lies in it, as COCO defines it.

    Args:
        predictions: as for `detection_metrics`, for classes and scores.
        masks: one a prediction, in the same order, of the size of the image's true masks.
        ground_truth: as for `detection_metrics`, for classes and crowds.
        true_masks: one an object, in the same order.
        num_classes: class numbers are below it.
        max_det: the most detections of one class on one image that count.
    """
    _check_counts(len(predictions), len(ground_truth))
    return _measured(
        _instances(ground_truth, num_classes),
        _with_masks(_prediction_records(predictions), masks),
        _with_masks(_truth_records(ground_truth), true_masks),
        images=len(ground_truth),
        max_det=max_det,
        overlap="segm",
    )


def _check_counts(predictions: int, images: int) -> None:
    if predictions != images:
        raise ValueError(f"{predictions} predictions for {images} images")


def _measured(
    instances: Sequence[int], found: _Records, truth: _Records, *, images: int, max_det: int, overlap: str = "bbox"
) -> DetectionMetrics:
    if not any(instances) or not found:
        return _means([ClassMetrics(index, 0, 0, 0, 0, 0, count) for index, count in enumerate(instances) if count])
    precision, scores, recall = _curves(found, truth, images, len(instances), max_det, overlap)
    return _means(
        [
            _class_metrics(index, count, precision[:, :, index], scores[0, :, index], recall)
            for index, count in enumerate(instances)
            if count
        ]
    )


def _means(per_class: Sequence[ClassMetrics]) -> DetectionMetrics:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    return DetectionMetrics(
        map50=mean([one.ap50 for one in per_class]),
        map50_95=mean([one.ap50_95 for one in per_class]),
        precision=mean([one.precision for one in per_class]),
        recall=mean([one.recall for one in per_class]),
        per_class=tuple(per_class),
    )


def _class_metrics(
    index: int,
    instances: int,
    precision: NDArray[np.float64],
    scores: NDArray[np.float64],
    recall: NDArray[np.float64],
) -> ClassMetrics:
    """From the precision [thresholds, recalls], the scores [recalls] at the first threshold, and the recalls."""
    at_50 = precision[0]
    total = at_50 + recall
    f1 = np.divide(2 * at_50 * recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    found = f1[best] > 0
    return ClassMetrics(
        index=index,
        ap50=float(at_50.mean()),
        ap50_95=float(precision.mean()),
        precision=float(at_50[best]) if found else 0.0,
        recall=float(recall[best]) if found else 0.0,
        confidence=float(scores[best]) if found else 0.0,
        instances=instances,
    )


def _instances(ground_truth: Sequence[GroundTruth], num_classes: int) -> list[int]:
    counts = np.zeros(num_classes, dtype=np.int64)
    for truth in ground_truth:
        counted = truth.classes if truth.crowd is None else truth.classes[~truth.crowd]
        counts += np.bincount(counted, minlength=num_classes)
    return [int(count) for count in counts]


def _curves(
    found: _Records, truth_records: _Records, count: int, num_classes: int, max_det: int, overlap: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision and scores [10 thresholds, 101 recalls, classes], and the recalls [101]."""
    from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]

    categories = [{"id": index, "name": str(index)} for index in range(num_classes)]
    # The size is asked for where there are masks, but each of them has its own.
    images = [{"id": index + 1, "width": 0, "height": 0} for index in range(count)]
    truth = COCO({"images": images, "annotations": truth_records, "categories": categories})
    evaluation = COCOeval_faster(truth, truth.loadRes(found), iouType=overlap)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.maxDets = [max_det]
    evaluation.evaluate()
    evaluation.accumulate()
    curves = (np.asarray(evaluation.eval[name])[:, :, :, 0, 0].clip(min=0) for name in ("precision", "scores"))
    return next(curves), next(curves), np.asarray(evaluation.params.recThrs)


def _truth_records(ground_truth: Sequence[GroundTruth]) -> _Records:
    records: _Records = []
    for image, truth in enumerate(ground_truth, 1):
        crowd = np.zeros(len(truth.classes), dtype=bool) if truth.crowd is None else truth.crowd
        for box, category, is_crowd in zip(sized(truth.boxes), truth.classes, crowd, strict=True):
            record = _record(image, box, int(category)) | {"id": len(records) + 1, "iscrowd": int(is_crowd)}
            records.append(record)
    return records


def _prediction_records(predictions: Sequence[Detections]) -> _Records:
    return [
        _record(image, box, int(category)) | {"score": float(score)}
        for image, found in enumerate(predictions, 1)
        for box, category, score in zip(sized(found.boxes), found.classes, found.scores, strict=True)
    ]


def _with_masks(records: _Records, masks: Sequence[Sequence[Mask]]) -> _Records:
    """The records with a mask each, both image by image. Raises ValueError where there are more or fewer."""
    flat = [mask for of_image in masks for mask in of_image]
    return [
        record | {"segmentation": {"size": [mask.height, mask.width], "counts": mask.counts}, "area": mask.area}
        for record, mask in zip(records, flat, strict=True)
    ]


def _record(image: int, box: list[float], category: int) -> dict[str, object]:
    return {"image_id": image, "bbox": box, "area": box[2] * box[3], "category_id": category}


def sized(boxes: NDArray[np.floating]) -> list[list[float]]:
    """Boxes of corners as x, y, width, height, which COCO's code takes."""
    moved = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return [[float(value) for value in box] for box in moved]
