"""Our own evaluation of models that outline objects: boxes, and the masks inside them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bloomery_vision.geometry import Mask, Tag
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.metrics import GroundTruth, detection_metrics, mask_metrics
from bloomery_vision.postprocess import Detections, decode_masks
from bloomery_vision.preprocess import LetterboxTransform
from bloomery_vision.rasterize import rasterize
from bloomery_vision.records import box_overlaps, detection_records, mask_overlaps
from bloomery_worker.evaluate import DetectionEvaluator, Evaluation, detection_evaluation, ground_truth
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
        for row, transform, outputs in self.outputs(predictor, rows):
            images.append(replace(row, shapes=()))
            decoded = self.decode(outputs, transform)
            found.append(decoded.to_original(transform))
            truth.append(ground_truth(row, self.classes))
            masks.append(self._masks(outputs, decoded, transform))
            true_masks.append(_true_masks(row, self.classes, transform))
        boxes = detection_metrics(found, truth, num_classes=len(self.classes))
        areas = mask_metrics(found, masks, truth, true_masks, num_classes=len(self.classes))
        measured = detection_evaluation(boxes, self.classes, name=name, images=len(found))
        per_class = [
            {**known, "mask_ap50": one.ap50, "mask_ap50_95": one.ap50_95}
            for known, one in zip(measured.per_class, areas.per_class, strict=True)
        ]
        means = {**measured.means, "mask_map50": areas.map50, "mask_map50_95": areas.map50_95}
        evaluation = replace(measured, means=means, per_class=per_class)
        if not record:
            return evaluation
        overlaps = {"": box_overlaps(found, truth), "mask_": mask_overlaps(masks, true_masks, truth)}
        return replace(evaluation, records=detection_records(images, found, truth, overlaps, classes=self.classes))

    def _masks(self, outputs: Outputs, decoded: Detections, transform: LetterboxTransform) -> list[Mask]:
        arrays = decode_masks(outputs[1], decoded, transform.without_scale, size=self.size)
        return [Mask.from_array(array) for array in arrays]


def _true_masks(row: ManifestRow, classes: Sequence[str], transform: LetterboxTransform) -> list[Mask]:
    """The masks of the shapes that `ground_truth` counts, in its order."""
    size = transform.inner_width, transform.inner_height
    scale = transform.inner_width / transform.width, transform.inner_height / transform.height
    return [
        rasterize(shape.geometry, size, scale=scale)
        for shape in row.shapes
        if shape.label in classes and not isinstance(shape.geometry, Tag)
    ]
