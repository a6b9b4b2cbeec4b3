"""Our own evaluation of models that outline objects: boxes, and the masks inside them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bloomery_vision.geometry import Mask, Tag
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.matching import Comparison, compare_boxes, compare_masks
from bloomery_vision.metrics import detection_metrics
from bloomery_vision.postprocess import Detections, decode_masks
from bloomery_vision.preprocess import LetterboxTransform
from bloomery_vision.rasterize import rasterize
from bloomery_vision.records import detection_records
from bloomery_vision.scenes import GroundTruth
from bloomery_worker.evaluate import (
    DetectionEvaluator,
    class_precisions,
    detection_evaluation,
    ground_truth,
    precision_curves,
    precisions,
)
from bloomery_worker.evaluation import Evaluation, defined
from bloomery_worker.predictor import Outputs, Predictor


class SegmentationEvaluator(DetectionEvaluator):
    """Evaluates boxes and masks.

    Masks are compared at the size that the image has in the letterbox, so that large images do not take for ever. Boxes
    count as outlines of four corners.
    """

    judged: tuple[str, ...] = ("map50", "mask_map50")

    def evaluate(
        self, predictor: Predictor, rows: Iterable[ManifestRow], *, name: str, record: bool = False
    ) -> Evaluation:
        """What is measured of boxes, and the average precisions of masks."""
        images: list[ManifestRow] = []
        found: list[Detections] = []
        truth: list[GroundTruth] = []
        masks: list[list[Mask]] = []
        true_masks: list[list[Mask]] = []
        scales: list[float] = []
        for row, transform, outputs in self.outputs(predictor, rows):
            images.append(replace(row, shapes=()))
            decoded = self.decode(outputs, transform)
            found.append(decoded.to_original(transform))
            truth.append(ground_truth(row, self.classes))
            masks.append(self._masks(outputs, decoded, transform))
            true_masks.append(_true_masks(row, self.classes, transform))
            scales.append(transform.inner_width / transform.width)
        boxes = compare_boxes(found, truth)
        areas = compare_masks(found, masks, truth, true_masks, scales=scales)
        evaluation = _with_masks(detection_evaluation(boxes, images, self.classes, name=name), areas)
        if not record:
            return evaluation
        comparisons = {"": boxes, "mask_": areas}
        return replace(evaluation, records=detection_records(images, comparisons, classes=self.classes))

    def _masks(self, outputs: Outputs, decoded: Detections, transform: LetterboxTransform) -> list[Mask]:
        arrays = decode_masks(outputs[1], decoded, transform.without_scale, size=self.size)
        return [Mask.from_array(array) for array in arrays]


def _with_masks(evaluation: Evaluation, comparison: Comparison) -> Evaluation:
    """The same with the average precisions of masks, and their curves."""
    classes = evaluation.classes
    metrics = detection_metrics(comparison, num_classes=len(classes))
    per_class = [
        {**known, **class_precisions(one, "mask_")}
        for known, one in zip(evaluation.per_class, metrics.per_class, strict=True)
    ]
    curves = [*evaluation.insight.curves, *precision_curves(metrics, classes, "mask_")]
    return replace(
        evaluation,
        task="segment",
        means={**evaluation.means, **defined(precisions(metrics, "mask_"))},
        per_class=per_class,
        insight=replace(evaluation.insight, curves=curves),
    )


def _true_masks(row: ManifestRow, classes: Sequence[str], transform: LetterboxTransform) -> list[Mask]:
    """The masks of the shapes that `ground_truth` counts, in its order."""
    size = transform.inner_width, transform.inner_height
    scale = transform.inner_width / transform.width, transform.inner_height / transform.height
    return [
        rasterize(shape.geometry, size, scale=scale)
        for shape in row.shapes
        if shape.label in classes and not isinstance(shape.geometry, Tag)
    ]
