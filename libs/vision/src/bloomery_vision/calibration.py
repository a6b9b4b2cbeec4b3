"""Whether scores can be believed: of all predictions with a score of about 0.8, are 80 % right?

The expected calibration error is the mean distance between the mean score and the share that is right, over bins of
equal width, each weighed by its predictions (Guo et al., On Calibration of Modern Neural Networks, 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.matching import Comparison, lane, of_known_classes

BINS = 15
SHOWN = 0.25
"""Detections below it do not count: predictions leave them out by default, and being many they would decide."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions whose score is above `lower` and at most `upper`.

    Attributes:
        lower: 0 to 1; the first bin holds 0 itself.
        upper: the same.
        count: how many there are.
        confidence: the mean of their scores; 0 where there are none.
        share: how many of them are right, 0 to 1; 0 where there are none.
    """

    lower: float
    upper: float
    count: int
    confidence: float
    share: float


def reliability(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The bins of predictions with these scores [N], of which those are right [N]."""
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    filled = np.maximum(counts, 1)
    means = np.bincount(places, weights=np.asarray(scores, dtype=np.float64), minlength=BINS) / filled
    shares = np.bincount(places, weights=right.astype(np.float64), minlength=BINS) / filled
    return tuple(
        Bin(float(edges[n]), float(edges[n + 1]), int(counts[n]), float(means[n]), float(shares[n]))
        for n in range(BINS)
    )


def detection_reliability(comparison: Comparison) -> tuple[Bin, ...]:
    """The bins of detections with a score of `SHOWN` or more; right is what takes an object at an overlap of 0.5.

    Those of classes that have no object on these images do not count.
    """
    counted = (comparison.found.scores >= SHOWN) & ~lane(comparison.ignored, 0) & of_known_classes(comparison)
    return reliability(comparison.found.scores[counted], lane(comparison.hits, 0)[counted])


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error, 0 to 1; None without predictions."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.share - one.confidence) for one in bins) / total if total else None
