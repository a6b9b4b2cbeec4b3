"""What TensorBoard shows of a validation beside its figures: what is taken for what, and precision against recall."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bloomery_worker.board import THRESHOLDS, Board
from bloomery_worker.evaluation import Curve, Evaluation

BACKGROUND = "background"
CURVES = 20
"""Classes with a curve, at most."""
_AT = np.linspace(0, 1, THRESHOLDS)


def draw_answers(
    board: Board, truth: NDArray[np.int64], probabilities: NDArray[np.floating], classes: Sequence[str], *, epoch: int
) -> None:
    """Of a classifier: the classes [N] of images, and what it gave each class on them, [N, C]."""
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (probabilities.argmax(axis=1), truth), 1)
    board.confusion(counts, classes, epoch)
    for number in np.unique(truth)[:CURVES]:
        scores, own = probabilities[:, number], truth == number
        taken = scores[:, None] >= _AT
        right = (taken & own[:, None]).sum(axis=0)
        precision = np.divide(right, taken.sum(axis=0), out=np.ones(THRESHOLDS), where=taken.any(axis=0))
        board.curve(f"val/{classes[number]}", precision, right / own.sum(), int(own.sum()), epoch)


def draw_boxes(board: Board, found: Evaluation, *, epoch: int) -> None:
    """Of a detector; what is seen where nothing is lies in the column of the background, what is missed in its row."""
    names = (*found.classes, BACKGROUND)
    places = {name: place for place, name in enumerate(found.classes)}
    counts = np.zeros((len(names), len(names)))
    for cell in found.insight.cells:
        seen, true = (len(places) if name is None else places[name] for name in (cell.predicted, cell.truth))
        counts[seen, true] = cell.count
    board.confusion(counts, names, epoch)
    instances = {str(one["class"]): int(str(one["instances"])) for one in found.per_class}
    curves = [one for one in found.insight.curves if one.figure == "precision_recall" and instances[one.label]]
    for curve in curves[:CURVES]:
        board.curve(f"val/{curve.label}", *_at_thresholds(curve), instances[curve.label], epoch)


def _at_thresholds(curve: Curve) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at rising thresholds, of a curve whose scores fall as recall rises."""
    taken = (curve.scores[:, None] >= np.maximum(_AT, np.finfo(np.float64).tiny)).sum(axis=0)
    reached = taken > 0
    last = np.maximum(taken - 1, 0)
    return np.where(reached, curve.y[last], 1.0), np.where(reached, curve.x[last], 0.0)
