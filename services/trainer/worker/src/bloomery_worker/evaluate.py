"""Our own evaluation: the same preparation, decoding and metrics for every model, whatever trained or runs it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Protocol

import numpy as np

from bloomery_vision.calibration import calibration_error, detection_reliability
from bloomery_vision.confusion import detection_confusion
from bloomery_vision.decoders import YOLO
from bloomery_vision.interpret import EVALUATION, detect
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.matching import Comparison, compare_boxes
from bloomery_vision.metrics import RECALLS, ClassMetrics, DetectionMetrics, detection_metrics
from bloomery_vision.postprocess import Detections
from bloomery_vision.preprocess import LetterboxTransform, letterbox
from bloomery_vision.records import detection_records
from bloomery_vision.scenes import GroundTruth
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluation import Curve, Evaluation, defined, insight
from bloomery_worker.predictor import Images, Outputs, Predictor, predictions

BATCH = 8

Size = tuple[int, int]
"""(height, width) of a model's input in pixels."""

Check = Callable[[], None]
"""Called before every image; may raise to end the work."""


class Evaluator(Protocol):
    """Evaluates models of one task.

    Attributes:
        judged: the means by which forms of a model are judged; the first counts most.
    """

    judged: tuple[str, ...]

    def fit(self, image: Images) -> Images:
        """The image [H, W, 3] as the model takes it."""
        ...

    def evaluate(
        self, predictor: Predictor, rows: Iterable[ManifestRow], *, name: str, record: bool = False
    ) -> Evaluation:
        """Evaluates on some images; with `record` also what each of them gives."""
        ...


class MakeEvaluator(Protocol):
    """Makes an evaluator for a dataset and a model."""

    def __call__(
        self,
        dataset: Dataset,
        size: Size,
        classes: Sequence[str],
        *,
        decoder: str,
        check: Check = ...,
        multi_label: bool = ...,
        missing: Sequence[str] = ...,
    ) -> Evaluator:
        """The evaluator."""
        ...


class DetectionEvaluator:
    """Evaluates boxes.

    Args:
        dataset: whose boxes (or boxes around outlines) are the truth.
        size: of the model's input.
        classes: the model's classes; objects of others do not count.
        decoder: how the model's outputs are read, one of `interpret.DETECTORS`.
        multi_label: let one anchor answer for several classes, not only for its best.
        missing: classes that the model does not know, whose objects count as missed.
    """

    judged: tuple[str, ...] = ("map50",)

    def __init__(
        self,
        dataset: Dataset,
        size: Size,
        classes: Sequence[str],
        *,
        decoder: str = YOLO,
        check: Check = lambda: None,
        multi_label: bool = False,
        missing: Sequence[str] = (),
    ) -> None:
        self._dataset, self.size, self._check = dataset, size, check
        self._known, self.classes = len(classes), (*classes, *missing)
        self._decoder, self._choice = decoder, replace(EVALUATION, multi_label=multi_label)

    def fit(self, image: Images) -> Images:
        """Letterboxed."""
        return letterbox(image, self.size)[0]

    def evaluate(
        self, predictor: Predictor, rows: Iterable[ManifestRow], *, name: str, record: bool = False
    ) -> Evaluation:
        """Average precisions as COCO's, precision and recall at the best thresholds, and what is taken for what."""
        images: list[ManifestRow] = []
        found: list[Detections] = []
        truth: list[GroundTruth] = []
        for row, transform, outputs in self.outputs(predictor, rows):
            images.append(replace(row, shapes=()))
            found.append(self.decode(outputs, transform).to_original(transform))
            truth.append(ground_truth(row, self.classes))
        comparison = compare_boxes(found, truth)
        evaluation = detection_evaluation(comparison, images, self.classes, name=name)
        if not record:
            return evaluation
        return replace(evaluation, records=detection_records(images, {"": comparison}, classes=self.classes))

    def outputs(
        self, predictor: Predictor, rows: Iterable[ManifestRow]
    ) -> Iterator[tuple[ManifestRow, LetterboxTransform, Outputs]]:
        """What a model puts out for each image, and how the image lies in the letterbox."""
        pending: deque[tuple[ManifestRow, LetterboxTransform]] = deque()

        def images() -> Iterator[Images]:
            for row in rows:
                self._check()
                framed, transform = letterbox(self._dataset.image(row), self.size)
                pending.append((row, transform))
                yield framed

        for outputs in predictions(predictor, images(), batch=BATCH):
            yield *pending.popleft(), outputs

    def decode(self, outputs: Outputs, transform: LetterboxTransform) -> Detections:
        """Everything that might be on the image, in the letterbox."""
        return detect(self._decoder, outputs[0], self._known, self._choice).on_image(transform)


def detection_evaluation(
    comparison: Comparison, rows: Sequence[ManifestRow], classes: Sequence[str], *, name: str
) -> Evaluation:
    """What was measured of the boxes on some images, with the names of the classes."""
    metrics = detection_metrics(comparison, num_classes=len(classes))
    overall, bins = metrics.overall, detection_reliability(comparison)
    confusion = detection_confusion(comparison, confidence=overall.confidence, num_classes=len(classes))
    means = {
        **precisions(metrics),
        "precision": metrics.precision,
        "recall": metrics.recall,
        "f1": metrics.f1,
        "overall_precision": overall.precision,
        "overall_recall": overall.recall,
        "overall_f1": overall.f1,
        "overall_confidence": overall.confidence,
        "calibration_error": calibration_error(bins),
    }
    per_class = [
        {
            "class": classes[one.index],
            "index": one.index,
            **class_precisions(one),
            **asdict(one.best),
            "instances": one.instances,
        }
        for one in metrics.per_class
    ]
    return Evaluation(
        name=name,
        task="detect",
        classes=classes,
        images=len(rows),
        means=defined(means),
        per_class=per_class,
        insight=insight(
            confusion,
            rows,
            classes,
            curves=precision_curves(metrics, classes),
            bins=bins,
            comparison=comparison,
        ),
    )


def precisions(metrics: DetectionMetrics, prefix: str = "") -> dict[str, float | None]:
    """The mean average precisions by name; None where there is no object of a size."""
    means: dict[str, float | None] = {"map50": metrics.map50, "map50_95": metrics.map50_95, "map75": metrics.map75}
    means |= {f"map_{size}": value for size, value in metrics.sizes.items()}
    return {f"{prefix}{name}": value for name, value in means.items()}


def class_precisions(metrics: ClassMetrics, prefix: str = "") -> dict[str, float | None]:
    """The same of one class."""
    found: dict[str, float | None] = {"ap50": metrics.ap50, "ap50_95": metrics.ap50_95, "ap75": metrics.ap75}
    found |= {f"ap_{size}": value for size, value in metrics.sizes.items()}
    return {f"{prefix}{name}": value for name, value in found.items()}


def precision_curves(metrics: DetectionMetrics, classes: Sequence[str], prefix: str = "") -> list[Curve]:
    """Precision at each recall, at an overlap of 0.5."""
    return [
        Curve(f"{prefix}precision_recall", classes[one.index], RECALLS, one.precisions, one.scores)
        for one in metrics.per_class
    ]


def ground_truth(row: ManifestRow, classes: Sequence[str]) -> GroundTruth:
    """The boxes around the shapes of an image, in its own pixels; shapes of other classes are left out."""
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(classes)}
    kept = [
        (box, numbers[shape.label], shape.crowd)
        for shape in row.shapes
        if shape.label in numbers and (box := shape.geometry.bounds) is not None
    ]
    corners = [(box.x, box.y, box.x2, box.y2) for box, _, _ in kept]
    return GroundTruth(
        boxes=np.array(corners, dtype=np.float64).reshape(-1, 4),
        classes=np.array([number for _, number, _ in kept], dtype=np.int64),
        crowd=np.array([crowd for _, _, crowd in kept], dtype=np.bool_),
    )


def golden_rows(dataset: Dataset, count: int) -> list[ManifestRow]:
    """The first `count` images that training has not seen: of val, then of test."""
    unseen = (row for split in ("val", "test") for row in dataset.rows(split))
    return list(islice(unseen, count))
