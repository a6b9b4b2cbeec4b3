"""Training that can be interrupted at an epoch's end and goes on with the same bits, for every Ultralytics trainer.

Two ideas. Randomness is anchored, not carried over: at the start of each epoch all generators are seeded from the seed
and the epoch's number, so that an epoch depends on the stored state and its number alone. And the library's loop stays
as it is: a resumed run is a fresh one whose state is replaced at the end of its set-up.
"""

import hashlib
import logging
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bloomery_recipe_yolo import per_class
from bloomery_recipe_yolo import state as states
from bloomery_recipe_yolo.lora.spec import Spec
from bloomery_recipe_yolo.lora.trainer import AdaptedTrainer
from bloomery_recipe_yolo.names import renamed
from bloomery_worker.best import BestBy
from bloomery_worker.training.state import check

_NO_MORE_RETRIES = 3

STATE_FILE = "state.pt"
BEST_FILE = "best.pt"
MATCH = "_process_batch"
"""The method of a validator that is given what was predicted and what is true of each image."""

_LOG = logging.getLogger("bloomery.yolo")

Keep = Callable[[Path, int, bool], None]
"""Takes a folder with a checkpoint, how many epochs it holds, and whether its last one is the best so far."""

Rehearse = Callable[["ExactTrainer"], None]
"""Is given a trainer that is set up, before the first epoch. What it does to the seeds has no effect."""


class _TrainedToTheEndError(Exception):
    """The checkpoint's epoch was the last one."""


class ExactTrainer(AdaptedTrainer):
    """Mix into a trainer, before it in the order of bases.

    Args:
        overrides: the library's arguments.
        checkpoints: folder to write checkpoints to, one folder each.
        keep: is given each checkpoint.
        rehearse: is called before a start from the beginning.
        resume_from: folder of a checkpoint of the same job.
        spec: the adapter to train; None for all weights.
        classes: names of the classes in the order of their indices.
        best_by: by which measurement the best epoch is found; None for what the library goes by.

    Attributes:
        of_classes: what was measured of each class at the end of the last epoch.
    """

    def __init__(
        self,
        overrides: dict[str, object],
        *,
        checkpoints: Path,
        keep: Keep,
        rehearse: Rehearse,
        resume_from: Path | None,
        spec: Spec | None = None,
        classes: Sequence[str] = (),
        best_by: BestBy | None = None,
    ) -> None:
        self._checkpoints, self._keep, self._rehearse = checkpoints, keep, rehearse
        self._best_before = resume_from / BEST_FILE if resume_from else None
        self._resumed = states.load(resume_from / STATE_FILE) if resume_from else None
        self._classes, self._best_by = classes, best_by
        self.of_classes: dict[str, float] = {}
        self._in_loop = False
        self._running_epoch = -1
        self._batch = -1
        self._nominal_accumulate = 1
        self._anchor = 0
        self.last_step = -1
        super().__init__(overrides, spec=spec)
        self.add_callback("on_train_start", lambda _: self._begin())
        self.add_callback("on_train_epoch_start", lambda _: self._begin_epoch())

    @property
    def batches_done(self) -> int:
        """Of the running epoch."""
        return self._batch - len(self.train_loader) * self.epoch + 1

    def resume_training(self, ckpt: object) -> None:  # noqa: ARG002 - the name is the library's
        """Replaces the state, as the last step of the set-up."""
        if self._resumed is None:
            return
        loose = check(self._resumed["conditions"], states.conditions(self))
        states.put(self, self._resumed)
        if loose:
            _LOG.warning("training goes on with other bits than without the interruption: %s differ", ", ".join(loose))
        if self._best_before is not None and self._best_before.exists():
            shutil.copyfile(self._best_before, self.best)

    def _begin(self) -> None:
        if self._resumed is None:
            self._rehearse(self)
            self.train_time_start = time.time()
        self._in_loop = True
        if self._resumed is not None:
            self._take_up(self._resumed)

    def _take_up(self, resumed: states.State) -> None:
        self.train_time_start -= resumed["elapsed"]
        # The library's own files of that epoch.
        super().save_model()
        if resumed["stop"]:
            raise _TrainedToTheEndError

    def _begin_epoch(self) -> None:
        if self._resumed is not None:
            self.last_step = self._resumed["last_step"]
            states.put_gradients(self, self._resumed)
            self._resumed = None
        if self._running_epoch == self.epoch:
            # The loop does an epoch again after it met a NaN or ran out of memory, and begins its count anew.
            self.last_step = -1
        self._running_epoch = self.epoch
        # Without memory the library halves the batch by itself, and nobody would know what was trained.
        self._oom_retries = _NO_MORE_RETRIES
        self._batch = len(self.train_loader) * self.epoch - 1
        self._seed_all()
        self._refill_mosaic()

    def _seed_all(self) -> None:
        key = f"{self.args.seed}/{self.epoch}/{self.nan_recovery_attempts}".encode()
        self._anchor = int.from_bytes(hashlib.sha256(key).digest()[:7])
        random.seed(self._anchor)
        np.random.seed(self._anchor % 2**32)
        torch.manual_seed(self._anchor)
        for number, loader in enumerate((self.train_loader, self.test_loader)):
            loader.generator.manual_seed(self._anchor + number)
            # Nothing that is prefetched or half drawn is left.
            loader.reset()

    def _refill_mosaic(self) -> None:
        """Draws the images that mosaics are made with, which the library collects over epochs."""
        images = self.train_loader.dataset
        if not getattr(images, "max_buffer_length", 0) or images.cache == "ram":
            return
        images.ims, images.im_hw0, images.im_hw = ([None] * images.ni for _ in range(3))
        images.buffer = random.sample(range(images.ni), max(images.max_buffer_length - 1, 0))

    def preprocess_batch(self, batch: dict[str, object]) -> dict[str, object]:
        """Makes the loop ask for an optimizer step at each batch; it counts in a variable that nobody can store."""
        if self._in_loop:
            self._batch += 1
            self._nominal_accumulate, self.accumulate = self.accumulate, 0
        return super().preprocess_batch(batch)

    def optimizer_step(self) -> None:
        """Steps when enough batches are accumulated."""
        self.accumulate = self._nominal_accumulate
        if self._batch - self.last_step >= self.accumulate:
            super().optimizer_step()
            self.last_step = self._batch

    def get_validator(self) -> Any:
        """A validator that counts what is taken for what, which the library does only where it also draws plots."""
        validator = super().get_validator()
        if hasattr(validator, MATCH):
            setattr(validator, MATCH, _counting(validator, getattr(validator, MATCH)))
        return validator

    def validate(self) -> tuple[dict[str, float], float]:
        """Measures, and compares with the best epoch so far by what was asked for."""
        best = self.best_fitness
        metrics, fitness = super().validate()
        self.of_classes = per_class.figures(self.validator, self._classes)
        if self._best_by is not None:
            losses = {f"train/{name}": float(value) for name, value in self.tloss.items()}
            fitness = self._best_by.score({**renamed({**losses, **metrics}), **self.of_classes})
            self.best_fitness = fitness if best is None or best < fitness else best
        return metrics, fitness

    def save_model(self) -> bool:
        """Writes the library's files, and the checkpoint beside them."""
        saved = super().save_model()
        is_best = self.best_fitness == self.fitness
        folder = self._checkpoints / str(self.epoch + 1)
        folder.mkdir(parents=True)
        torch.save(states.take(self, last_step=self.last_step), folder / STATE_FILE)
        if not is_best:
            # Else it can be written again from the state.
            shutil.copyfile(self.best, folder / BEST_FILE)
        self._keep(folder, self.epoch + 1, is_best)
        return saved

    def final_eval(self) -> None:
        """Does nothing: the published model is measured by our own evaluation, and files stay as they are."""
        self._in_loop = False

    def _do_train(self) -> None:
        try:
            super()._do_train()
        except _TrainedToTheEndError:
            self.final_eval()


def _counting(validator: Any, match: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def counted(predictions: Any, truth: Any) -> Any:
        validator.confusion_matrix.process_batch(predictions, truth)
        return match(predictions, truth)

    return counted
