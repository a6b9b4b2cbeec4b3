"""Where the borders between classes lie, tuned on validation images: numbers that are added to the logits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bloomery_worker.training.learner import Check

_STEPS = np.arange(-4.0, 4.01, 0.25)
"""What may be added to the logit of a class, from a fiftieth to fifty times its odds."""
_ROUNDS = 3

Scores = NDArray[np.float64]
"""Logits [N, C], or of one class [N]."""
Classes = NDArray[np.int64]
"""Numbers of classes [N]."""


def balanced(scores: Scores, truth: NDArray[np.int64], check: Check) -> NDArray[np.float64]:
    """For classes of which one is chosen: what makes the mean recall of the classes greatest.

    By coordinate ascent from nothing added; of equal values the one in the middle of their range is taken, which is the
    furthest from the images on both sides. [C], of which the first is 0.

    Args:
        scores: of the images.
        truth: [N], their classes.
        check: is called again and again, and may raise.
    """
    bias, leaders = np.zeros(scores.shape[1]), _Leaders(scores)
    for _ in range(_ROUNDS):
        for index in range(1, len(bias)):
            check()
            other, most = leaders.without(index)

            def tried(step: float, index: int = index, other: Classes = other, most: Scores = most) -> float:
                own = scores[:, index] + step
                wins = (own > most) | ((own == most) & (index < other))
                return _mean_recall(np.where(wins, index, other), truth)

            bias[index] = _middle([tried(step) for step in _STEPS])
            leaders.put(index, scores[:, index] + bias[index])
    return bias


class _Leaders:
    """The two best classes of each image, the first of equals first, kept up while the scores of classes change."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores.copy()
        self._images = np.arange(len(scores))
        self._first, self._second = self._best_two(self._images)

    def without(self, index: int) -> tuple[Classes, Scores]:
        """The best class of each image but for one class, and its score."""
        other = np.where(self._first == index, self._second, self._first)
        return other, self._scores[self._images, other]

    def put(self, index: int, scores: Scores) -> None:
        """Gives a class other scores [N]; only images among whose two best it was, or will be, are looked at again."""
        was = (self._first == index) | (self._second == index)
        will = scores >= self._scores[self._images, self._second]
        self._scores[:, index] = scores
        again = np.flatnonzero(was | will)
        self._first[again], self._second[again] = self._best_two(again)

    def _best_two(self, images: NDArray[np.int64]) -> tuple[Classes, Classes]:
        rows = self._scores[images]
        first = rows.argmax(axis=1)
        rows[np.arange(len(rows)), first] = -np.inf
        return first, rows.argmax(axis=1)


def one_versus_rest(scores: Scores, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """For classes that are each learnt against all others: what makes the F1 of each at 0.5 greatest."""

    def found(index: int) -> float:
        return _middle([_f1(scores[:, index] + step >= 0, truth == index) for step in _STEPS])

    return np.array([found(index) for index in range(scores.shape[1])])


def _middle(values: Sequence[float]) -> float:
    """The step in the middle of the longest run of best values; nothing where nothing helps."""
    best = max(values)
    if values[len(_STEPS) // 2] == best:
        return 0.0
    good = np.flatnonzero(np.asarray(values) == best)
    runs = np.split(good, np.flatnonzero(np.diff(good) > 1) + 1)
    longest = max(runs, key=len)
    return float(_STEPS[longest[len(longest) // 2]])


def _mean_recall(said: Classes, truth: Classes) -> float:
    there = np.bincount(truth)
    right = np.bincount(truth[said == truth], minlength=len(there))
    return float(np.mean(right[there > 0] / there[there > 0]))


def _f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    both = said.sum() + truth.sum()
    return float(2 * (said & truth).sum() / both) if both else 0.0
