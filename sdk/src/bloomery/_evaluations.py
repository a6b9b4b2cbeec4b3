"""What evaluations measured, as the client returns it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

_OVERALL = ("precision", "recall", "f1", "confidence")
_DETAILS = frozenset(
    {
        "f1",
        "roc_auc",
        "calibration_error",
        *(f"overall_{name}" for name in _OVERALL),
        *(f"{kind}{which}" for kind in ("ap", "map") for which in ("75", "_small", "_medium", "_large")),
    }
)
"""Figures that tables leave out; those of masks have a prefix."""


@dataclass(frozen=True)
class ConfusionCell:
    """How often one class is taken for another: a cell of the confusion matrix that is not empty.

    `truth` and `predicted` are classes. None is background: as `predicted` of objects that are missed, as `truth` of
    finds where nothing is. `images` are the resource names of some images where it happens, none for what is right.
    """

    truth: str | None
    predicted: str | None
    count: int
    images: Sequence[str]


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions with a score above `lower` and at most `upper`: their mean score, and the share that is right."""

    lower: float
    upper: float
    count: int
    confidence: float
    share: float


@dataclass(frozen=True)
class WorstImage:
    """One of the images with the most mistakes: objects missed, finds where nothing is, and of another class."""

    asset: str
    file_name: str
    missed: int
    extra: int
    confused: int


@dataclass(frozen=True)
class Evaluation:
    """What our own evaluation measured on the images of one split.

    `metrics` are means over the classes by name, such as "test/map50". `per_class` has the same of each class with its
    "class", "index" and "instances"; a class without objects may be missing, and a figure that is not defined is None.
    `confusion` counts detections with a score of `confidence` or more. What an older job did not measure is empty.
    """

    split: str
    images: int
    metrics: Mapping[str, float]
    per_class: Sequence[Mapping[str, float | str | None]]
    confidence: float = 0.0
    confusion: Sequence[ConfusionCell] = ()
    reliability: Sequence[ReliabilityBin] = ()
    worst_images: Sequence[WorstImage] = ()

    @classmethod
    def read(cls, document: bytes) -> list[Self]:
        """The evaluations in an `evaluation.json`."""
        content = json.loads(document)
        # Documents without a version have nothing but the evaluations.
        found = content["evaluations"] if "version" in content else content
        return [cls._of(split, one) for split, one in found.items()]

    @classmethod
    def _of(cls, split: str, found: Mapping[str, Any]) -> Self:
        metrics = found.get("metrics") or {name: value for name, value in found.items() if name.startswith(f"{split}/")}
        confusion = found.get("confusion", {"confidence": 0.0, "cells": ()})
        return cls(
            split,
            found["images"],
            metrics,
            found["per_class"],
            confusion["confidence"],
            [ConfusionCell(**one) for one in confusion["cells"]],
            [ReliabilityBin(**one) for one in found.get("reliability", ())],
            [WorstImage(**one) for one in found.get("worst_images", ())],
        )


def main_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those that tables show, by name."""
    return {name: value for name, value in sorted(metrics.items()) if is_main(name)}


def is_main(name: str) -> bool:
    """Whether a metric, or a figure of a class, is among those that tables show; the others are details."""
    return name.rpartition("/")[2].removeprefix("mask_") not in _DETAILS
