"""Tells how a training goes."""

from collections.abc import Mapping
from pathlib import Path

from bloomery_worker.context import Context
from bloomery_worker.messages import MetricsNote, ProgressNote


class Telling:
    """Reports steps, epochs and checkpoints, and ends the training when somebody wants that.

    Args:
        context: of the job.
        epochs: of the whole training.
        device: for people.
        done: epochs that the last checkpoint holds.
    """

    def __init__(self, context: Context, *, epochs: int, device: str, done: int) -> None:
        self._context, self._epochs, self._device, self._done = context, epochs, device, done

    def check(self) -> None:
        """Raises StopRequestedError where somebody wants the work to end."""
        self._context.check_stop(self._done)

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        """So many steps of the epoch after `epoch` whole ones are done."""
        note = MetricsNote(epoch=epoch, step=epoch * steps + step, values=values)
        self._context.step(self._progress(epoch, step, steps), note)

    def epoch_end(self, epoch: int, steps: int, values: Mapping[str, float]) -> None:
        """So many epochs are done."""
        note = MetricsNote(epoch=epoch, step=epoch * steps, values=values, epoch_end=True)
        self._context.epoch_end(self._progress(epoch, 0, steps), note)

    def checkpoint(self, folder: Path, epoch: int, *, best: bool) -> None:
        """Hands a checkpoint over."""
        self._done = epoch
        self._context.checkpoint(folder, epoch=epoch, best=best)

    def _progress(self, epoch: int, step: int, steps: int) -> ProgressNote:
        return ProgressNote(
            phase="training",
            epoch=epoch,
            epochs=self._epochs,
            step=step,
            steps=steps,
            fraction=(epoch + step / max(steps, 1)) / self._epochs,
            device=self._device,
        )
