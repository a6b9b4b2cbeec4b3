"""Confusion matrices, and precision against recall, after some epochs of a training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_worker.context import Context
from bloomery_worker.samples import is_due

BACKGROUND = "background"
CURVES = 20
"""Classes with a curve, at most."""


def attach(context: Context, trainer: ExactTrainer) -> None:
    """Begins to show them: what was seen and is nothing is in the column of the background, what was missed in its row.

    As the library counts: an object is seen where a box of more than 0.25 confidence overlaps it by more than 0.45.
    """

    def epoch_end(ended: ExactTrainer) -> None:
        done = ended.epoch + 1
        if is_due(done, ended.epochs, last=ended.stop):
            _show(context, ended.validator, context.job.classes, done)

    trainer.add_callback("on_fit_epoch_end", epoch_end)


def _show(context: Context, validator: Any, classes: Sequence[str], epoch: int) -> None:
    counts = np.asarray(validator.confusion_matrix.matrix)
    names = (*classes, BACKGROUND)[: len(counts)]
    context.board.confusion(counts, names, epoch)
    if not hasattr(validator.metrics, "box"):
        return
    boxes, true = validator.metrics.box, validator.metrics.nt_per_class
    for row, number in enumerate(boxes.ap_class_index[:CURVES]):
        of_class = boxes.p_curve[row], boxes.r_curve[row], int(true[number])
        context.board.curve(f"val/{classes[number]}", *of_class, epoch)
