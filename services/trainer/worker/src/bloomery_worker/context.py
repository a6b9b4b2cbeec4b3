"""What a recipe has at hand while it works."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bloomery_worker.board import Board
from bloomery_worker.cache import BlobCache
from bloomery_worker.dataset import Dataset
from bloomery_worker.failures import SMALLER, DataError
from bloomery_worker.messages import (
    CheckpointNote,
    JobSpec,
    MetricsNote,
    Note,
    PreflightNote,
    ProgressNote,
    SamplesNote,
    Value,
)
from bloomery_worker.pictured import pictures

MIN_INTERVAL = 0.5
"""Seconds between two reports of steps; those between are left out."""


MAX_METRICS = 200
"""Different measurements of a job: the newest of each is kept with it."""
MAX_METRIC_NAME = 128


class StopRequestedError(Exception):
    """The work ended on request. `epoch` epochs are in the last checkpoint."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped after epoch {epoch}")
        self.epoch = epoch


class Context:
    """One job, and the way to talk about it. All methods may be called from any thread."""

    def __init__(
        self,
        job: JobSpec,
        send: Callable[[Note], None],
        stop: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self.log = logging.getLogger("bloomery.recipe")
        self._send, self._stop, self._clock = send, stop, clock
        self._last_step = -MIN_INTERVAL
        self._metrics: set[str] = set()
        self._warned = False
        self.smaller = SMALLER
        """What to do where memory runs out: better known after the preflight."""

    @property
    def parameters(self) -> Mapping[str, Value]:
        """The effective parameters."""
        return self.job.parameters

    @property
    def work_dir(self) -> Path:
        """A folder of the job's own."""
        return Path(self.job.work_dir)

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset version. Raises DataError where the job has none."""
        if not self.job.manifest:
            raise DataError("the job has no dataset version", hint="name one")
        return Dataset.open(Path(self.job.manifest), BlobCache(Path(self.job.cache_dir)))

    @cached_property
    def board(self) -> Board:
        """What TensorBoard shows of the job: the measurements of each epoch, and samples, are there by themselves."""
        return Board(self.job, self._send)

    def should_stop(self) -> bool:
        """Whether somebody wants the work to end."""
        return self._stop.is_set()

    def check_stop(self, epoch: int = 0) -> None:
        """Raises StopRequestedError where somebody wants the work to end; `epoch` are in the last checkpoint."""
        if self.should_stop():
            raise StopRequestedError(epoch)

    def progress(self, note: ProgressNote) -> None:
        """Says how far the work is."""
        self._send(note)

    def preflight(self, note: PreflightNote) -> None:
        """Says what a step takes, before the first."""
        self.smaller = note.smaller
        self._send(note)

    def samples(self, note: SamplesNote) -> None:
        """Says what the model sees in some images by now."""
        self._send(note)
        for name, picture in pictures(self.dataset, note):
            self.board.picture(name, picture, note.epoch)

    def step(self, progress: ProgressNote, metrics: MetricsNote) -> None:
        """Says how far the work is within an epoch; too frequent reports are left out."""
        now = self._clock()
        if now - self._last_step >= MIN_INTERVAL:
            self._last_step = now
            self._send(progress)
            self._send(self._bounded(metrics))

    def epoch_end(self, progress: ProgressNote, metrics: MetricsNote) -> None:
        """Says that an epoch is done."""
        self._send(progress)
        told = self._bounded(metrics)
        self._send(told)
        self.board.scalars(told.values, told.epoch)
        self.board.hand_over()

    def checkpoint(self, folder: Path, *, epoch: int, best: bool) -> None:
        """Hands a complete checkpoint over; the folder is uploaded and then removed."""
        self._send(CheckpointNote(str(folder), epoch, best))

    def _bounded(self, metrics: MetricsNote) -> MetricsNote:
        kept = {name: value for name, value in metrics.values.items() if self._is_told(name)}
        if len(kept) < len(metrics.values) and not self._warned:
            self._warned = True
            self.log.warning(
                "not all measurements are told: a job has at most %d, with names of at most %d characters",
                MAX_METRICS, MAX_METRIC_NAME,
            )  # fmt: skip
        return replace(metrics, values=kept)

    def _is_told(self, name: str) -> bool:
        if name not in self._metrics and len(self._metrics) < MAX_METRICS and len(name) <= MAX_METRIC_NAME:
            self._metrics.add(name)
        return name in self._metrics
