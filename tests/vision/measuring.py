"""What is measured of predictions, in one call."""

from collections.abc import Sequence

from bloomery_vision.geometry import Mask
from bloomery_vision.matching import MOST, compare_boxes, compare_masks
from bloomery_vision.metrics import DetectionMetrics, detection_metrics
from bloomery_vision.postprocess import Detections
from bloomery_vision.scenes import GroundTruth


def measured(
    predictions: Sequence[Detections], truth: Sequence[GroundTruth], *, num_classes: int, max_det: int = MOST
) -> DetectionMetrics:
    return detection_metrics(compare_boxes(predictions, truth, max_det=max_det), num_classes=num_classes)


def masks_measured(
    predictions: Sequence[Detections],
    masks: Sequence[Sequence[Mask]],
    truth: Sequence[GroundTruth],
    true_masks: Sequence[Sequence[Mask]],
    *,
    num_classes: int,
    max_det: int = MOST,
) -> DetectionMetrics:
    comparison = compare_masks(predictions, masks, truth, true_masks, max_det=max_det)
    return detection_metrics(comparison, num_classes=num_classes)
