"""Where the borders between classes lie, tuned on validation images: numbers that are added to the logits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEPS = np.arange(-4.0, 4.01, 0.25)
"""What may be added to the logit of a class, from a fiftieth to fifty times its odds."""
_ROUNDS = 3

Scores = NDArray[np.float64]
"""Logits [N, C]."""


def balanced(scores: Scores, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """For classes of which one is chosen: what makes the mean recall of the classes greatest.

    By coordinate ascent from nothing added; of equal values the one in the middle of their range is taken, which is the
    furthest from the images on both sides. [C], of which the first is 0.
    """
    bias = np.zeros(scores.shape[1])
    for _ in range(_ROUNDS):
        for index in range(1, len(bias)):
            tried = [_mean_recall(_with(scores + bias, index, step - bias[index]), truth) for step in _STEPS]
            bias[index] = _middle(tried)
    return bias


def one_versus_rest(scores: Scores, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """For classes that are each learnt against all others: what makes the F1 of each at 0.5 greatest."""

    def found(index: int) -> float:
        return _middle([_f1(scores[:, index] + step >= 0, truth == index) for step in _STEPS])

    return np.array([found(index) for index in range(scores.shape[1])])


def _with(scores: Scores, index: int, more: float) -> Scores:
    changed = scores.copy()
    changed[:, index] += more
    return changed


def _middle(values: Sequence[float]) -> float:
    """The step in the middle of the longest run of best values; nothing where nothing helps."""
    best = max(values)
    if values[len(_STEPS) // 2] == best:
        return 0.0
    good = np.flatnonzero(np.asarray(values) == best)
    runs = np.split(good, np.flatnonzero(np.diff(good) > 1) + 1)
    longest = max(runs, key=len)
    return float(_STEPS[longest[len(longest) // 2]])


def _mean_recall(scores: Scores, truth: NDArray[np.int64]) -> float:
    right = scores.argmax(axis=1) == truth
    return float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


def _f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    both = said.sum() + truth.sum()
    return float(2 * (said & truth).sum() / both) if both else 0.0
