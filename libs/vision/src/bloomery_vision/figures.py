"""The figures of an evaluation from its records, for many choices of its images at once.

A choice gives each image a weight: how often it is in it. One of each gives what the evaluation published. Where equal
scores of one image and class are right and wrong, several of that image count as if the right ones came first.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bloomery_vision.matching import THRESHOLDS
from bloomery_vision.records import about

Weights = NDArray[np.float64]
"""[B, N]: B choices of N images, whole numbers."""
_RECALLS = np.linspace(0, 1, 101)
_ROUNDING = 1e-7
"""Less than two recalls differ by, in hundredths."""
_AT_ONCE = 1 << 20
"""Numbers in the largest array of a step."""


class Figures(Protocol):
    """Computes figures of choices."""

    def __call__(self, weights: Weights) -> Mapping[str, NDArray[np.float64]]:
        """Each figure [B] by its name without the split, the one that counts most first; 0 to 1."""
        ...


def figures_of(records: pa.Table) -> Figures:
    """The figures of an evaluation's records, see `records`."""
    task, classes = about(records)
    return ClassFigures(records) if task == "classify" else DetectionFigures(records, len(classes))


class DetectionFigures:
    """mAP50 and mAP50-95 of boxes, and of masks where there are any."""

    def __init__(self, records: pa.Table, num_classes: int) -> None:
        images, classes = _flat(records, "objects")
        self._objects = np.zeros((records.num_rows, num_classes))
        np.add.at(self._objects, (images, classes), 1)
        prefixes = [name.removesuffix("hits") for name in records.column_names if name.endswith("hits")]
        present = np.flatnonzero(self._objects.any(axis=0))
        self._curves = {
            prefix: [(int(number), _Curve.read(records, prefix, int(number))) for number in present]
            for prefix in prefixes
        }

    def __call__(self, weights: Weights) -> Mapping[str, NDArray[np.float64]]:
        """See Figures."""
        counts = weights @ self._objects
        found: dict[str, NDArray[np.float64]] = {}
        for prefix, curves in self._curves.items():
            means = np.zeros((len(weights), 2))
            for number, curve in curves:
                means += curve.precisions(weights, counts[:, number])
            means /= np.maximum((counts > 0).sum(axis=1), 1)[:, None]
            found[f"{prefix}map50"], found[f"{prefix}map50_95"] = means.T
        return found


class _Curve:
    """The detections of one class, best first."""

    def __init__(self, image: NDArray[np.int64], hits: NDArray[np.uint16], ignored: NDArray[np.uint16]) -> None:
        # What comes behind the last hit changes no precision at a recall that is reached.
        end = int(np.flatnonzero(hits)[-1]) + 1 if hits.any() else 0
        self._image = image[:end]
        bits = np.arange(len(THRESHOLDS))[:, None]
        self._hits = (hits[:end] >> bits & 1).astype(np.bool_)
        self._ignored = (ignored[:end] >> bits & 1).astype(np.bool_)

    @classmethod
    def read(cls, records: pa.Table, prefix: str, number: int) -> "_Curve":
        """Of one class; of equal scores those of the first image come first, as in COCO's evaluation."""
        images, classes = _flat(records, "classes")
        chosen = np.flatnonzero(classes == number)
        scores = _flat(records, "scores")[1][chosen]
        order = chosen[np.argsort(-scores.astype(np.float64), kind="stable")]
        return cls(
            images[order], _flat(records, f"{prefix}hits")[1][order], _flat(records, f"{prefix}ignored")[1][order]
        )

    def precisions(self, weights: Weights, objects: NDArray[np.float64]) -> NDArray[np.float64]:
        """The average precision [B, 2] at an overlap of 0.5 and over all thresholds; 0 without objects."""
        step = max(1, _AT_ONCE // max(1, len(self._image)))
        parts = [
            self._some(weights[start : start + step], objects[start : start + step])
            for start in range(0, len(weights), step)
        ]
        return np.concatenate(parts)

    def _some(self, weights: Weights, objects: NDArray[np.float64]) -> NDArray[np.float64]:
        chosen = weights[:, self._image]
        seen = chosen.cumsum(axis=1)
        at = [
            _average_precision(chosen, seen, hits, ignored, objects)
            for hits, ignored in zip(self._hits, self._ignored, strict=True)
        ]
        return np.stack([at[0], np.mean(at, axis=0)], axis=1)


def _average_precision(
    chosen: Weights,
    seen: Weights,
    hits: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    objects: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The mean [B] of the interpolated precision at 101 recalls.

    Only hits raise the recall, so that it is enough to look at them. Several of one image count like one: the last has
    the highest precision, which interpolation gives to all.
    """
    places = np.flatnonzero(hits)
    if not len(places):
        return np.zeros(len(chosen))
    taken = chosen[:, places].cumsum(axis=1)
    counted = seen[:, places]
    if ignored.any():
        counted = counted - (chosen * ignored).cumsum(axis=1)[:, places]
    precision = np.divide(taken, counted, out=np.zeros(taken.shape), where=counted > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((best * np.diff(_reached(taken, objects), axis=1, prepend=0)).sum(axis=1) / len(_RECALLS))


def _reached(taken: Weights, objects: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the recalls are reached, as a search for each would tell that takes ten times as long."""
    recall = taken / np.maximum(objects, 1)[:, None]
    # The nearest one below, and with rounding perhaps the one that is equal up to it: that decides.
    below = (recall * (len(_RECALLS) - 1) + _ROUNDING).astype(np.int64)
    # Without a hit nothing is reached, also not the recall of 0.
    return (below + (recall >= _RECALLS[below])) * (taken > 0)


class ClassFigures:
    """Accuracy, balanced over the classes or not, and that of the five most probable classes."""

    def __init__(self, records: pa.Table) -> None:
        truth, rank = (records.column(name).to_numpy() for name in ("truth", "rank"))
        self._first, self._five = (rank == 0).astype(np.float64), ((rank >= 0) & (rank < 5)).astype(np.float64)
        self._classes = (truth[:, None] == np.unique(truth)[None, :]).astype(np.float64)

    def __call__(self, weights: Weights) -> Mapping[str, NDArray[np.float64]]:
        """See Figures."""
        images = np.maximum(weights.sum(axis=1), 1)
        counts = weights @ self._classes
        right = (weights * self._first) @ self._classes
        recalls = np.divide(right, counts, out=np.zeros(counts.shape), where=counts > 0)
        return {
            "accuracy": weights @ self._first / images,
            "accuracy_top5": weights @ self._five / images,
            "balanced_accuracy": recalls.sum(axis=1) / np.maximum((counts > 0).sum(axis=1), 1),
        }


def _flat(records: pa.Table, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """All values of a column of lists, and the number of the image of each."""
    column = records.column(name).combine_chunks()
    images = np.repeat(np.arange(len(column)), column.value_lengths().to_numpy(zero_copy_only=False))
    return images, column.flatten().to_numpy(zero_copy_only=False)
