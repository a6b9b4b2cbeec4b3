"""A training of few epochs that is thrown away: only how good it became is of interest."""

import csv
import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bloomery_recipe_yolo.exact import ExactTrainer, Keep
from bloomery_recipe_yolo.lora.choosing import METRICS, Choice, comparing
from bloomery_recipe_yolo.making import train_with
from bloomery_recipe_yolo.names import table
from bloomery_worker.context import Context

FOLDER = "comparing"

Make = Callable[[Choice, dict[str, object], Path, Keep], ExactTrainer]
"""Sets a trainer up: what it trains, arguments beside the job's, the folder for checkpoints, and who gets them."""


class Shortly:
    """Trains shortly, one after the other, and says how far it is.

    Args:
        context: of the job.
        make: sets a trainer up.
    """

    def __init__(self, context: Context, make: Make) -> None:
        self._context, self._make = context, make
        self._done = 0

    def __call__(self, choice: Choice, epochs: int) -> float:
        """The best of the job's metric after any of `epochs` epochs. Raises StopRequestedError."""
        folder = self._context.work_dir / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        arguments: dict[str, object] = {"epochs": epochs, "project": str(folder)}
        trainer = self._make(choice, arguments, folder / "checkpoints", _forget)
        for event in ("on_train_batch_end", "on_train_epoch_start", "on_val_batch_start"):
            trainer.add_callback(event, self._check)
        # What is looked at before the first training comes before this.
        trainer.add_callback("on_train_start", self._say)
        trainer.add_callback("on_fit_epoch_end", self._epoch_end)
        train_with(trainer)
        found = best(trainer.csv.read_text(encoding="utf-8"), METRICS[self._context.job.task])
        shutil.rmtree(folder, ignore_errors=True)
        return found

    def _check(self, _: Any) -> None:
        self._context.check_stop()

    def _say(self, _: ExactTrainer) -> None:
        self._context.progress(comparing(self._context, self._done))

    def _epoch_end(self, trainer: ExactTrainer) -> None:
        self._done += 1
        self._say(trainer)


def best(library_csv: str, metric: str) -> float:
    """The largest value of a metric in the library's table of epochs; 0 where it is never a number."""
    rows = csv.DictReader(io.StringIO(table(library_csv)))
    return max(filter(math.isfinite, (float(row[metric]) for row in rows)), default=0.0)


def _forget(folder: Path, _epoch: int, _best: bool) -> None:
    shutil.rmtree(folder)
