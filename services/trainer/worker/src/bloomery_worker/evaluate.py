"""Our own evaluation: the same preparation, decoding and metrics for every model, whatever trained or runs it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bloomery_vision.decoders import PROBABILITIES, YOLO
from bloomery_vision.interpret import EVALUATION, detect
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.metrics import DetectionMetrics, GroundTruth, detection_metrics
from bloomery_vision.postprocess import Detections
from bloomery_vision.preprocess import LetterboxTransform, letterbox, resize_center_crop
from bloomery_vision.records import box_overlaps, class_records, detection_records
from bloomery_worker.dataset import Dataset
from bloomery_worker.layout import tag_of
from bloomery_worker.predictor import Images, Outputs, Predictor, predictions

BATCH = 8

Size = tuple[int, int]
"""(height, width) of a model's input in pixels."""

Check = Callable[[], None]
"""Called before every image; may raise to end the work."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of some images, which are called `name`: means over the classes, and each class.

    `records` is the table of what was found image by image, where it was asked for.
    """

    name: str
    images: int
    means: Mapping[str, float]
    per_class: Sequence[Mapping[str, object]]
    records: pa.Table | None = None

    def values(self) -> dict[str, float]:
        """The means by name, such as "test/map50"; none where there is nothing to find, as of no class there is one."""
        there_is_one = any(one["instances"] for one in self.per_class)
        return {f"{self.name}/{mean}": value for mean, value in self.means.items()} if there_is_one else {}

    def document(self) -> dict[str, object]:
        """Everything as plain JSON values."""
        return {"images": self.images, **self.values(), "per_class": list(self.per_class)}


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
        """Average precisions as COCO's, and precision and recall at the best threshold."""
        images: list[ManifestRow] = []
        found: list[Detections] = []
        truth: list[GroundTruth] = []
        for row, transform, outputs in self.outputs(predictor, rows):
            images.append(replace(row, shapes=()))
            found.append(self.decode(outputs, transform).to_original(transform))
            truth.append(ground_truth(row, self.classes))
        metrics = detection_metrics(found, truth, num_classes=len(self.classes))
        evaluation = detection_evaluation(metrics, self.classes, name=name, images=len(found))
        if not record:
            return evaluation
        overlaps = {"": box_overlaps(found, truth)}
        return replace(evaluation, records=detection_records(images, found, truth, overlaps, classes=self.classes))

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


class ClassificationEvaluator:
    """Evaluates the class of whole images; those without exactly one tag do not count.

    Args:
        dataset: whose tags are the truth.
        size: of the model's input, a square.
        classes: the model's classes.
        decoder: of no effect: a classifier's outputs are its probabilities.
        multi_label: of no effect: every class has its probability.
        missing: classes that the model does not know, whose images count as missed.
    """

    judged: tuple[str, ...] = ("accuracy",)

    def __init__(
        self,
        dataset: Dataset,
        size: Size,
        classes: Sequence[str],
        *,
        decoder: str = PROBABILITIES,  # noqa: ARG002 - as other evaluators have it
        check: Check = lambda: None,
        multi_label: bool = False,  # noqa: ARG002 - as other evaluators have it
        missing: Sequence[str] = (),
    ) -> None:
        self._dataset, self._size, self._check = dataset, size, check
        self._known, self._classes = len(classes), (*classes, *missing)

    def fit(self, image: Images) -> Images:
        """The square in the middle."""
        return resize_center_crop(image, self._size[0])

    def evaluate(
        self, predictor: Predictor, rows: Iterable[ManifestRow], *, name: str, record: bool = False
    ) -> Evaluation:
        """The share of images whose most probable class is the right one, and whose five most probable hold it.

        `balanced_accuracy` is the mean of the first share over the classes that have images.
        """
        counted: list[ManifestRow] = []
        truth: list[int] = []

        def images() -> Iterator[Images]:
            for row in rows:
                self._check()
                tag = tag_of(row, self._classes)
                if tag is not None:
                    counted.append(row)
                    truth.append(tag)
                    yield self.fit(self._dataset.image(row))

        ranked = [np.argsort(-outputs[0], kind="stable") for outputs in predictions(predictor, images(), batch=BATCH)]
        order = np.array(ranked, dtype=np.int64).reshape(-1, self._known)
        answers = np.array(truth, dtype=np.int64)
        evaluation = self._measured(order, answers, name)
        if not record:
            return evaluation
        return replace(evaluation, records=class_records(counted, answers, order, classes=self._classes))

    def _measured(self, order: NDArray[np.int64], truth: NDArray[np.int64], name: str) -> Evaluation:
        hits = order == truth[:, None]
        recalls = [_share(order[truth == number, 0] == number) for number in range(len(self._classes))]
        present = np.unique(truth)
        means = {
            "accuracy": _share(hits[:, :1].any(axis=1)),
            "accuracy_top5": _share(hits[:, :5].any(axis=1)),
            "balanced_accuracy": sum(recalls[number] for number in present) / max(len(present), 1),
        }
        per_class = [
            {
                "class": label,
                "index": number,
                "recall": recalls[number],
                "precision": _share(truth[order[:, 0] == number] == number),
                "instances": int((truth == number).sum()),
            }
            for number, label in enumerate(self._classes)
        ]
        return Evaluation(name, len(truth), means, per_class)


def detection_evaluation(metrics: DetectionMetrics, classes: Sequence[str], *, name: str, images: int) -> Evaluation:
    """What was measured of boxes, with the names of the classes."""
    means = {mean: float(getattr(metrics, mean)) for mean in ("map50", "map50_95", "precision", "recall")}
    per_class = [{"class": classes[one.index], **asdict(one)} for one in metrics.per_class]
    return Evaluation(name, images, means, per_class)


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


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0
