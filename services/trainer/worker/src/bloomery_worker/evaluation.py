"""What an evaluation found: its figures, curves and tables, and examples of what went wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bloomery_vision.calibration import Bin
from bloomery_vision.confusion import Confusion, Mistakes, worst_images
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.matching import Comparison

VERSION = 1
"""Of the documents; a reader of this version takes all that are not higher."""
WORST = 20
"""Images that are named as the worst."""
EXAMPLES = 8
"""Mistakes of each kind that are named."""
_COMPARED = 100
"""Classes by which trainings are compared."""
_FIGURES = {
    prefix + name: prefix + figure
    for prefix in ("", "mask_")
    for name, figure in (("precision", "precision"), ("recall", "recall"), ("f1", "f1"), ("map50", "ap50"))
}
"""Names of figures of a class in epochs, and in evaluations."""
_OF_AN_IMAGE = 100
"""Mistakes of one of the worst images that are named."""

Corners = tuple[float, float, float, float]
"""x, y, width, height in pixels of the image."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve: "precision_recall" (x is recall, y precision), the same of masks, or "roc" (false and true positives).

    Attributes:
        figure: what it shows.
        label: the class.
        x: float64 [N].
        y: float64 [N].
        scores: float64 [N], the least score that is taken at each point.
    """

    figure: str
    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    scores: NDArray[np.float64]

    def document(self) -> dict[str, object]:
        """As plain JSON values."""
        return {
            "figure": self.figure,
            "class": self.label,
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "scores": self.scores.tolist(),
        }


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that was taken for another; None for background.

    Attributes:
        row: the image, without its shapes.
        truth: the class of the object, or of the image.
        predicted: the class that it is taken for.
        true_box: of the object.
        predicted_box: of the detection.
        score: of the prediction; 0 where there is none.
    """

    row: ManifestRow
    truth: str | None
    predicted: str | None
    true_box: Corners | None = None
    predicted_box: Corners | None = None
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """How often one class is taken for another, with some examples; None for background."""

    truth: str | None
    predicted: str | None
    count: int
    examples: Sequence[Mistake] = ()

    def document(self) -> dict[str, object]:
        """As plain JSON values: the images by their resource names, each once."""
        images = list(dict.fromkeys(one.row.asset for one in self.examples))
        return {"truth": self.truth, "predicted": self.predicted, "count": self.count, "images": images}


@dataclass(frozen=True, slots=True)
class Worst:
    """One of the images with the most mistakes, and those."""

    row: ManifestRow
    mistakes: Sequence[Mistake]
    missed: int
    extra: int
    confused: int

    def document(self) -> dict[str, object]:
        """As plain JSON values."""
        counts = {"missed": self.missed, "extra": self.extra, "confused": self.confused}
        return {"asset": self.row.asset, "file_name": self.row.file_name, **counts}


@dataclass(frozen=True, slots=True)
class Insight:
    """What an evaluation tells beside its figures.

    Attributes:
        confidence: the least score of detections that the matrix counts; 0 for classifiers.
        cells: those of the confusion matrix that are not empty.
        curves: of each class.
        bins: whether scores can be believed.
        worst: the images with the most mistakes.
    """

    confidence: float
    cells: Sequence[Cell]
    curves: Sequence[Curve]
    bins: Sequence[Bin]
    worst: Sequence[Worst]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of some images, which are called `name`: means over the classes, and each class.

    `means` has no figure that is not defined on these images. `records` is the table of what was found image by image,
    where it was asked for.
    """

    name: str
    task: str
    classes: Sequence[str]
    images: int
    means: Mapping[str, float]
    per_class: Sequence[Mapping[str, object]]
    insight: Insight
    records: pa.Table | None = None

    def values(self) -> dict[str, float]:
        """The means by name, such as "test/map50"; none where there is nothing to find, as of no class there is one."""
        there_is_one = any(one["instances"] for one in self.per_class)
        return {f"{self.name}/{mean}": value for mean, value in self.means.items()} if there_is_one else {}

    def document(self) -> dict[str, object]:
        """Everything as plain JSON values."""
        return {
            "images": self.images,
            "metrics": self.values(),
            "per_class": list(self.per_class),
            "confusion": {
                "confidence": self.insight.confidence,
                "cells": [one.document() for one in self.insight.cells],
            },
            "reliability": [asdict(one) for one in self.insight.bins],
            "curves": [one.document() for one in self.insight.curves],
            "worst_images": [one.document() for one in self.insight.worst],
        }


def of_classes(evaluations: Iterable[Evaluation]) -> dict[str, float]:
    """What the published model finds of each class of the validation images, by the names that its epochs have.

    Such as "val/recall/platelets": trainings are compared by it. Only of so many classes as epochs tell of.
    """
    found: dict[str, float] = {}
    for evaluation in evaluations:
        seen = [one for one in evaluation.per_class if evaluation.name == "val" and one["instances"]]
        for one in seen[:_COMPARED]:
            for name, figure in _FIGURES.items():
                value = one.get(figure)
                if isinstance(value, float):
                    found[f"val/{name}/{one['class']}"] = value
    return found


def defined(values: Mapping[str, float | None]) -> dict[str, float]:
    """The figures that are some."""
    return {name: value for name, value in values.items() if value is not None}


def insight(
    confusion: Confusion,
    rows: Sequence[ManifestRow],
    classes: Sequence[str],
    *,
    curves: Sequence[Curve],
    bins: Sequence[Bin],
    comparison: Comparison | None = None,
) -> Insight:
    """What is told beside the figures, with some of the mistakes.

    Args:
        confusion: what is taken for what.
        rows: the images, without their shapes, by their numbers.
        classes: their names; those of detections have background behind them.
        curves: of each class.
        bins: whether scores can be believed.
        comparison: where the boxes are; None for classifiers.
    """
    teller = _Teller(confusion.mistakes, rows, classes, comparison)
    cells = [
        Cell(teller.name(truth), teller.name(predicted), int(confusion.counts[truth, predicted]), teller.of(pair))
        for pair in np.argwhere(confusion.counts)
        for truth, predicted in [pair.tolist()]
    ]
    return Insight(confusion.confidence, cells, curves, bins, teller.worst())


class _Teller:
    """Names mistakes."""

    def __init__(
        self,
        mistakes: Mistakes,
        rows: Sequence[ManifestRow],
        classes: Sequence[str],
        comparison: Comparison | None,
    ) -> None:
        self._mistakes, self._rows, self._classes, self._comparison = mistakes, rows, classes, comparison
        kinds = mistakes.truth * (len(classes) + 1) + mistakes.predicted
        # The surest of each kind first, as they say most.
        self._order = np.lexsort((-mistakes.scores, kinds))
        self._kinds = kinds[self._order]

    def name(self, number: int) -> str | None:
        """Of a class; None for background."""
        return self._classes[number] if number < len(self._classes) else None

    def of(self, pair: NDArray[np.int64]) -> list[Mistake]:
        """Examples of one kind, of different images where there are enough."""
        truth, predicted = pair.tolist()
        if truth == predicted:
            return []
        kind = truth * (len(self._classes) + 1) + predicted
        those = self._order[slice(*np.searchsorted(self._kinds, [kind, kind + 1]))]
        _, firsts = np.unique(self._mistakes.images[those], return_index=True)
        others = np.setdiff1d(np.arange(len(those)), firsts)
        return [self._mistake(int(those[place])) for place in (*np.sort(firsts), *others)[:EXAMPLES]]

    def worst(self) -> list[Worst]:
        """The images with the most mistakes."""
        return [self._worst(int(image)) for image in worst_images(self._mistakes, WORST)]

    def _worst(self, image: int) -> Worst:
        places = np.flatnonzero(self._mistakes.images == image)
        background = len(self._classes)
        missed = int((self._mistakes.predicted[places] == background).sum())
        extra = int((self._mistakes.truth[places] == background).sum())
        named = [self._mistake(int(place)) for place in islice(places, _OF_AN_IMAGE)]
        return Worst(self._rows[image], named, missed, extra, len(places) - missed - extra)

    def _mistake(self, place: int) -> Mistake:
        mistakes = self._mistakes
        found, objects = int(mistakes.found[place]), int(mistakes.objects[place])
        return Mistake(
            row=self._rows[int(mistakes.images[place])],
            truth=self.name(int(mistakes.truth[place])),
            predicted=self.name(int(mistakes.predicted[place])),
            true_box=_corners(self._comparison.objects.boxes[objects]) if self._comparison and objects >= 0 else None,
            predicted_box=_corners(self._comparison.found.boxes[found]) if self._comparison and found >= 0 else None,
            score=float(mistakes.scores[place]),
        )


def _corners(box: NDArray[np.float64]) -> Corners:
    x, y, width, height = box.tolist()
    return x, y, width, height
