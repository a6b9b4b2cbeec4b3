"""How good detections and their masks are, measured as COCO does.

Average precision is the mean of the interpolated precision at 101 recalls, matching at most one detection with each
object, best score first; mAP50-95 is its mean over the thresholds of overlap 0.50, 0.55, ..., 0.95 and over the classes
that have objects (Lin et al., Microsoft COCO, 2014; cocodataset/cocoapi, `cocoeval.py`). Crowds count neither way.

Precision, recall and F1 are those of the detections whose score reaches a threshold, at an overlap of 0.5: of all
scores that occur, the one with the highest F1 = 2 TP / (2 TP + FP + FN), of equal ones the highest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.matching import AREAS, THRESHOLDS, Comparison, lane, of_known_classes

RECALLS = np.linspace(0, 1, 101)
"""At which precision is interpolated."""
_AT_75 = 5
_SIZES = tuple(AREAS)[1:]


@dataclass(frozen=True, slots=True)
class Working:
    """A threshold of scores, and what it gives; all 0 where nothing is found at any."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class that has objects.

    Attributes:
        index: its number.
        ap50: average precision at an overlap of 0.5, 0 to 1.
        ap75: the same at 0.75.
        ap50_95: its mean over all thresholds.
        sizes: by "small", "medium" and "large", the mean over all thresholds for objects of that area; None where there
            is none of them.
        best: at the threshold that is best for the class.
        instances: how many objects it has without crowds.
        precisions: float64 [101], interpolated at RECALLS at an overlap of 0.5.
        scores: float64 [101], down to which that recall takes detections; 0 where it is not reached.
    """

    index: int
    ap50: float
    ap75: float
    ap50_95: float
    sizes: dict[str, float | None]
    best: Working
    instances: int
    precisions: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DetectionMetrics:
    """Means over the classes that have objects, 0 to 1; all 0 where there are none.

    Attributes:
        map50: of average precision at an overlap of 0.5.
        map75: the same at 0.75.
        map50_95: of its mean over all thresholds.
        sizes: by "small", "medium" and "large", over the classes that have objects of that area; None without any.
        precision: at the threshold that is best for each class.
        recall: the same.
        f1: the same.
        overall: of all detections, at the one threshold that is best for all classes together.
        per_class: each of the classes.
    """

    map50: float
    map75: float
    map50_95: float
    sizes: dict[str, float | None]
    precision: float
    recall: float
    f1: float
    overall: Working
    per_class: tuple[ClassMetrics, ...]


def detection_metrics(comparison: Comparison, *, num_classes: int) -> DetectionMetrics:
    """Measures what was compared; class numbers are below `num_classes`."""
    counted = comparison.objects.classes[~comparison.objects.crowd]
    instances = np.bincount(counted, minlength=num_classes)
    order = np.argsort(-comparison.found.scores, kind="stable")
    by_class = order[np.argsort(comparison.found.classes[order], kind="stable")]
    cuts = np.searchsorted(comparison.found.classes[by_class], np.arange(num_classes + 1))
    per_class = tuple(
        _class_metrics(comparison, int(index), by_class[cuts[index] : cuts[index + 1]])
        for index in np.flatnonzero(instances)
    )
    known = order[of_known_classes(comparison)[order]]
    return DetectionMetrics(
        map50=_mean([one.ap50 for one in per_class]),
        map75=_mean([one.ap75 for one in per_class]),
        map50_95=_mean([one.ap50_95 for one in per_class]),
        sizes={size: _mean_of_some([one.sizes[size] for one in per_class]) for size in _SIZES},
        precision=_mean([one.best.precision for one in per_class]),
        recall=_mean([one.best.recall for one in per_class]),
        f1=_mean([one.best.f1 for one in per_class]),
        overall=_best(comparison, known, int(instances.sum())),
        per_class=per_class,
    )


def _class_metrics(comparison: Comparison, index: int, order: NDArray[np.intp]) -> ClassMetrics:
    """Of one class, from its detections, best first."""
    objects = comparison.objects
    areas = objects.areas[(objects.classes == index) & ~objects.crowd]
    counts = [int(((least <= areas) & (areas <= most)).sum()) for least, most in AREAS.values()]
    curves = [[_curve(comparison, order, t, area, counts[area]) for t in range(len(THRESHOLDS))] for area in range(4)]
    means = [np.mean([precision.mean() for precision, _ in of_area]) for of_area in curves]
    first, ends = curves[0][0]
    reached = ends >= 0
    return ClassMetrics(
        index=index,
        ap50=float(first.mean()),
        ap75=float(curves[0][_AT_75][0].mean()),
        ap50_95=float(means[0]),
        sizes={
            size: float(mean) if count else None
            for size, mean, count in zip(_SIZES, means[1:], counts[1:], strict=True)
        },
        best=_best(comparison, order, counts[0]),
        instances=counts[0],
        precisions=first,
        scores=np.where(reached, comparison.found.scores[order[ends]], 0.0) if len(order) else np.zeros(len(RECALLS)),
    )


def _curve(
    comparison: Comparison, order: NDArray[np.intp], threshold: int, area: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The interpolated precision [101], and at which detection each recall is reached [101], -1 where it is not."""
    precisions, ends = np.zeros(len(RECALLS)), np.full(len(RECALLS), -1)
    # Only hits raise the recall, so that it is enough to look at them.
    places = np.flatnonzero(lane(comparison.hits[order], threshold, area))
    if not len(places) or not count:
        return precisions, ends
    ignored = np.cumsum(lane(comparison.ignored[order], threshold, area))
    taken = np.arange(1, len(places) + 1)
    best = np.maximum.accumulate((taken / (places + 1 - ignored[places]))[::-1])[::-1]
    at = np.searchsorted(taken / count, RECALLS, side="left")
    reached = at < len(places)
    precisions[reached], ends[reached] = best[at[reached]], places[at[reached]]
    return precisions, ends


def _best(comparison: Comparison, order: NDArray[np.intp], count: int) -> Working:
    """At the threshold that is best for these detections, best first, of `count` objects."""
    hits = lane(comparison.hits[order], 0)
    if not hits.any():
        return Working()
    scores = comparison.found.scores[order]
    true = np.cumsum(hits)
    counted = np.cumsum(~lane(comparison.ignored[order], 0))
    # A threshold takes all detections of one score or none.
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))
    f1 = 2 * true[last] / (counted[last] + count)
    best = last[int(f1.argmax())]
    return Working(
        precision=float(true[best] / counted[best]) if counted[best] else 0.0,
        recall=float(true[best] / count),
        f1=float(f1.max()),
        confidence=float(scores[best]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _mean_of_some(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None
