"""How good a classifier is: shares of images, each class by itself, and whether its probabilities are worth anything.

The definitions are those of scikit-learn: precision, recall and F1 of a class, 0 where they are not defined; their
means over the classes that occur, in truth or in answers; the ROC curve of one class against the rest, and the mean of
the areas under it over the classes that have images and are not those of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.calibration import Bin, calibration_error, reliability
from bloomery_vision.confusion import Confusion, class_confusion

_TOP = 5


@dataclass(frozen=True, slots=True)
class RocCurve:
    """The ROC curve of one class: shares of the images of others, and of its own, that are given at least a score."""

    false_positives: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Below it, 0 to 1."""
        return float(np.trapezoid(self.true_positives, self.false_positives))


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: its number, how many images it has, and how they are recognised.

    `roc` is None where the model does not know the class, or where all images or none are of it.
    """

    index: int
    precision: float
    recall: float
    f1: float
    instances: int
    roc: RocCurve | None


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """All that is measured of a classifier; shares are 0 to 1, and 0 without images.

    Attributes:
        accuracy: share of the images whose most probable class is the right one.
        accuracy_top5: the same for one of the five most probable ones.
        balanced_accuracy: mean recall over the classes that have images.
        precision: mean over the classes that occur.
        recall: the same.
        f1: the same.
        roc_auc: mean area under the ROC curves; None where no class has one.
        calibration_error: expected, of the most probable class; None without images.
        bins: of its probability.
        per_class: all classes in order.
        confusion: what is taken for what.
    """

    accuracy: float
    accuracy_top5: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    roc_auc: float | None
    calibration_error: float | None
    bins: tuple[Bin, ...]
    per_class: tuple[ClassScores, ...]
    confusion: Confusion


def classification_metrics(
    truth: NDArray[np.int64], probabilities: NDArray[np.floating], *, num_classes: int
) -> ClassificationMetrics:
    """Measures the answers for some images.

    Args:
        truth: [N], their classes.
        probabilities: [N, K], of the classes that the model knows, the first of all; of equal ones the first counts.
        num_classes: of all classes, also those that the model does not know.
    """
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    best = probabilities.max(axis=1)
    confusion = class_confusion(truth, ranked[:, 0], best, num_classes=num_classes)
    per_class = [_scores(number, confusion.counts, truth, probabilities) for number in range(num_classes)]
    occurring = [one for one in per_class if one.instances or confusion.counts[:, one.index].any()]
    bins = reliability(best, truth == ranked[:, 0])
    areas = [one.roc.area for one in per_class if one.roc]
    hits = ranked == truth[:, None]
    return ClassificationMetrics(
        accuracy=_share(hits[:, :1].any(axis=1)),
        accuracy_top5=_share(hits[:, :_TOP].any(axis=1)),
        balanced_accuracy=_mean([one.recall for one in per_class if one.instances]),
        precision=_mean([one.precision for one in occurring]),
        recall=_mean([one.recall for one in occurring]),
        f1=_mean([one.f1 for one in occurring]),
        roc_auc=_mean(areas) if areas else None,
        calibration_error=calibration_error(bins),
        bins=bins,
        per_class=tuple(per_class),
        confusion=confusion,
    )


def roc_curve(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> RocCurve:
    """The curve of images with these scores [N], some of which are of the class [N] and some are not."""
    order = np.argsort(-scores, kind="stable")
    ranked = np.asarray(scores[order], dtype=np.float64)
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    true = np.cumsum(positive[order])[last]
    return RocCurve(
        false_positives=np.append(0.0, (last + 1 - true) / (~positive).sum()),
        true_positives=np.append(0.0, true / positive.sum()),
        scores=np.append(np.inf, ranked[last]),
    )


def _scores(
    number: int, counts: NDArray[np.int64], truth: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> ClassScores:
    right, seen, there = int(counts[number, number]), int(counts[:, number].sum()), int(counts[number].sum())
    known = number < probabilities.shape[1] and 0 < there < len(truth)
    return ClassScores(
        index=number,
        precision=right / seen if seen else 0.0,
        recall=right / there if there else 0.0,
        f1=2 * right / (seen + there) if seen + there else 0.0,
        instances=there,
        roc=roc_curve(probabilities[:, number], truth == number) if known else None,
    )


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
