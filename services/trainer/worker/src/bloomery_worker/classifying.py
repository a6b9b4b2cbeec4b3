"""Our own evaluation of models that tell the class of whole images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.classification import ClassScores, RocCurve, classification_metrics
from bloomery_vision.decoders import PROBABILITIES
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.preprocess import resize_center_crop
from bloomery_vision.records import class_records
from bloomery_worker.dataset import Dataset
from bloomery_worker.evaluate import BATCH, Check, Size
from bloomery_worker.evaluation import Curve, Evaluation, defined, insight
from bloomery_worker.layout import tag_of
from bloomery_worker.predictor import Images, Predictor, predictions

_MEANS = (
    "accuracy",
    "accuracy_top5",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "calibration_error",
)
_POINTS = 201
"""Of a curve that are kept."""


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
        """Accuracies, each class by itself, whether probabilities can be believed, and what is taken for what."""
        counted: list[ManifestRow] = []
        truth: list[int] = []

        def images() -> Iterator[Images]:
            for row in rows:
                self._check()
                tag = tag_of(row, self._classes)
                if tag is not None:
                    counted.append(replace(row, shapes=()))
                    truth.append(tag)
                    yield self.fit(self._dataset.image(row))

        answers = [outputs[0] for outputs in predictions(predictor, images(), batch=BATCH)]
        probabilities = np.array(answers, dtype=np.float32).reshape(-1, self._known)
        classes = np.array(truth, dtype=np.int64)
        evaluation = self._measured(probabilities, classes, counted, name)
        if not record:
            return evaluation
        ranked = np.argsort(-probabilities, axis=1, kind="stable")
        return replace(evaluation, records=class_records(counted, classes, ranked, classes=self._classes))

    def _measured(
        self,
        probabilities: NDArray[np.float32],
        truth: NDArray[np.int64],
        rows: Sequence[ManifestRow],
        name: str,
    ) -> Evaluation:
        metrics = classification_metrics(truth, probabilities, num_classes=len(self._classes))
        means = {mean: getattr(metrics, mean) for mean in _MEANS}
        per_class = [_class_figures(one, self._classes[one.index]) for one in metrics.per_class]
        curves = [_thinned(self._classes[one.index], one.roc) for one in metrics.per_class if one.roc]
        return Evaluation(
            name=name,
            task="classify",
            classes=self._classes,
            images=len(truth),
            means=defined(means),
            per_class=per_class,
            insight=insight(metrics.confusion, rows, self._classes, curves=curves, bins=metrics.bins),
        )


def _class_figures(scores: ClassScores, label: str) -> dict[str, object]:
    figures = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    area = scores.roc.area if scores.roc else None
    return {"class": label, "index": scores.index, **figures, "roc_auc": area, "instances": scores.instances}


def _thinned(label: str, curve: RocCurve) -> Curve:
    """At most `_POINTS` of its points, its ends among them. The first has no score that would be a number: 1."""
    last = len(curve.scores) - 1
    places = np.unique(np.linspace(0, last, min(last + 1, _POINTS)).round().astype(np.int64))
    scores = np.minimum(curve.scores[places], 1.0)
    return Curve("roc", label, curve.false_positives[places], curve.true_positives[places], scores)
