"""What the library's own validation found of each class, in names that are the same for all recipes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bloomery_worker.context import MAX_METRICS

OTHERS = 60
"""Measurements of a job that are of no class, at most."""

Counts = npt.NDArray[np.float64]


def figures(validator: Any, classes: Sequence[str]) -> dict[str, float]:
    """Measurements of each class by name, such as "val/recall/platelets", after a validation.

    Of boxes: precision, recall and F1 at the confidence where the mean F1 is best, and average precision at an overlap
    of 0.5; the same of masks behind `mask_`. Of classifiers: precision, recall and F1 of the most probable tag, and
    "val/balanced_accuracy", the mean recall of the classes. A class without validation images has none, and of very
    many classes only the first have some: a job has at most `MAX_METRICS` measurements.
    """
    metrics = validator.metrics
    if hasattr(metrics, "top1"):
        return _of_tags(np.asarray(validator.confusion_matrix.matrix), classes)
    parts = {"": metrics.box} | ({"mask_": metrics.seg} if hasattr(metrics, "seg") else {})
    found: dict[str, float] = {}
    for prefix, part in parts.items():
        columns = {"precision": part.p, "recall": part.r, "f1": part.f1, "map50": part.ap50}
        most = (MAX_METRICS - OTHERS) // (len(columns) * len(parts))
        for row, number in enumerate(part.ap_class_index[:most]):
            found |= {f"val/{prefix}{name}/{classes[number]}": float(column[row]) for name, column in columns.items()}
    return found


def _of_tags(counts: Counts, classes: Sequence[str]) -> dict[str, float]:
    """From how often each class (row) was seen in images of each (column)."""
    right, seen, true = counts.diagonal(), counts.sum(1), counts.sum(0)
    there = [number for number in range(len(classes)) if true[number]]
    if not there:
        return {}
    found = {"val/balanced_accuracy": float(np.mean([right[number] / true[number] for number in there]))}
    for number in there[: (MAX_METRICS - OTHERS) // 3]:
        for name, value in _rates(right[number], seen[number], true[number]):
            found[f"val/{name}/{classes[number]}"] = value
    return found


def _rates(right: float, seen: float, true: float) -> Iterator[tuple[str, float]]:
    yield "precision", float(right / seen) if seen else 0.0
    yield "recall", float(right / true)
    yield "f1", float(2 * right / (seen + true))
