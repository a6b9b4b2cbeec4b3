"""Our own evaluation: the same preparation, decoding and metrics for every detector, whatever trained or runs it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import bounds
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.metrics import DetectionMetrics, GroundTruth, detection_metrics
from bloomery_vision.postprocess import Detections, decode_detections
from bloomery_vision.preprocess import LetterboxTransform, letterbox
from bloomery_worker.dataset import Dataset
from bloomery_worker.predictor import Images, Outputs, Predictor, predictions

CONFIDENCE = 0.001
IOU = 0.7
BATCH = 8

Size = tuple[int, int]
"""(height, width) of a model's input in pixels."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of one split."""

    split: str
    images: int
    metrics: DetectionMetrics

    def values(self) -> dict[str, float]:
        """The means by name, such as "test/map50"."""
        means = ("map50", "map50_95", "precision", "recall")
        return {f"{self.split}/{name}": float(getattr(self.metrics, name)) for name in means}

    def document(self, classes: Sequence[str]) -> dict[str, object]:
        """Everything as plain JSON values, with class names."""
        per_class = [{"class": classes[one.index], **asdict(one)} for one in self.metrics.per_class]
        return {"images": self.images, **self.values(), "per_class": per_class}


class DetectionEvaluator:
    """Evaluates detectors on the splits of a dataset.

    Args:
        dataset: whose boxes are the truth.
        size: of the model's input.
        classes: the model's classes; boxes of others do not count.
        check: called after every image; may raise to end it.
    """

    def __init__(
        self, dataset: Dataset, size: Size, classes: Sequence[str], *, check: Callable[[], None] = lambda: None
    ) -> None:
        self._dataset, self._size, self._classes, self._check = dataset, size, tuple(classes), check

    def split(self, predictor: Predictor, split: str) -> Evaluation:
        """Evaluates on all images of a split."""
        return self.rows(predictor, self._dataset.rows(split), name=split)

    def rows(self, predictor: Predictor, rows: Iterator[ManifestRow], *, name: str) -> Evaluation:
        """Evaluates on some images."""
        found: list[Detections] = []
        truth: list[GroundTruth] = []
        transforms: list[LetterboxTransform] = []

        def images() -> Iterator[Images]:
            for row in rows:
                self._check()
                framed, transform = letterbox(self._dataset.image(row), self._size)
                transforms.append(transform)
                truth.append(ground_truth(row, self._classes))
                yield framed

        for outputs in predictions(predictor, images(), batch=BATCH):
            found.append(self._decode(outputs, transforms[len(found)]))
        metrics = detection_metrics(found, truth, num_classes=len(self._classes))
        return Evaluation(name, len(found), metrics)

    def _decode(self, outputs: Outputs, transform: LetterboxTransform) -> Detections:
        decoded = decode_detections(
            outputs[0], num_classes=len(self._classes), conf=CONFIDENCE, iou=IOU, multi_label=True
        )
        return decoded.to_original(transform)


def ground_truth(row: ManifestRow, classes: Sequence[str]) -> GroundTruth:
    """The boxes around the shapes of an image, in its own pixels; shapes of other classes are left out."""
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(classes)}
    kept = [
        (box, numbers[shape.label], shape.crowd)
        for shape in row.shapes
        if shape.label in numbers and (box := bounds(shape.geometry)) is not None
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


def letterboxed(dataset: Dataset, rows: Sequence[ManifestRow], size: Size) -> NDArray[np.uint8]:
    """uint8 [N, H, W, 3]."""
    return np.stack([letterbox(dataset.image(row), size)[0] for row in rows])
