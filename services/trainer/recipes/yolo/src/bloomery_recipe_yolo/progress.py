"""Tells how training goes, by the library's callbacks, in names that are the same for all recipes."""

from collections.abc import Iterable, Mapping

from ultralytics.engine.validator import BaseValidator

from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_worker.context import Context
from bloomery_worker.messages import MetricsNote, ProgressNote

_NAMES = {
    "metrics/precision(B)": "val/precision",
    "metrics/recall(B)": "val/recall",
    "metrics/mAP50(B)": "val/map50",
    "metrics/mAP50-95(B)": "val/map50_95",
    "metrics/precision(M)": "val/mask_precision",
    "metrics/recall(M)": "val/mask_recall",
    "metrics/mAP50(M)": "val/mask_map50",
    "metrics/mAP50-95(M)": "val/mask_map50_95",
    "metrics/accuracy_top1": "val/accuracy",
    "metrics/accuracy_top5": "val/accuracy_top5",
    "lr/pg0": "lr",
}


def renamed(values: Mapping[str, float]) -> dict[str, float]:
    """Measurements under our names; the learning rates of further parameter groups are left out."""
    return {
        _NAMES.get(name, name): float(value)
        for name, value in values.items()
        if not name.startswith("lr/pg") or name == "lr/pg0"
    }


class Observer:
    """Reports steps and epochs of a trainer, and ends it when somebody wants that.

    Attributes:
        epoch: epochs that the last checkpoint holds.
    """

    def __init__(self, context: Context, *, device: str, epoch: int = 0) -> None:
        self._context, self._device = context, device
        self.epoch = epoch

    def attach(self, trainer: ExactTrainer) -> None:
        """Begins to listen. What is attached later runs later."""
        trainer.add_callback("on_train_batch_end", self._batch_end)
        trainer.add_callback("on_fit_epoch_end", self._epoch_end)
        trainer.add_callback("on_val_batch_start", self._check)
        trainer.add_callback("on_train_epoch_start", self._check)

    def _check(self, _: ExactTrainer | BaseValidator) -> None:
        self._context.check_stop(self.epoch)

    def _batch_end(self, trainer: ExactTrainer) -> None:
        self._check(trainer)
        steps = len(trainer.train_loader)
        step = trainer.batches_done
        losses = {f"train/{name}": float(value) for name, value in trainer.loss_items.items()}
        rate = {"lr": float(trainer.optimizer.param_groups[0]["lr"])}
        self._context.step(
            self._progress(trainer, trainer.epoch, step),
            MetricsNote(epoch=trainer.epoch, step=trainer.epoch * steps + step, values=losses | rate),
        )

    def _epoch_end(self, trainer: ExactTrainer) -> None:
        steps, done = len(trainer.train_loader), trainer.epoch + 1
        losses = {f"train/{name}": float(value) for name, value in trainer.tloss.items()}
        measured = renamed({**losses, **trainer.metrics, **trainer.lr})
        self._context.epoch_end(
            self._progress(trainer, done, 0),
            MetricsNote(epoch=done, step=done * steps, values=measured, epoch_end=True),
        )

    def _progress(self, trainer: ExactTrainer, epoch: int, step: int) -> ProgressNote:
        steps = len(trainer.train_loader)
        return ProgressNote(
            phase="training",
            epoch=epoch,
            epochs=trainer.epochs,
            step=step,
            steps=steps,
            fraction=(epoch + step / max(steps, 1)) / trainer.epochs,
            device=self._device,
        )


def table(library_csv: str) -> str:
    """The library's table of epochs (CSV text) under our names."""
    lines = [line.split(",") for line in library_csv.strip().splitlines()]
    if not lines:
        return ""
    header = [name.strip() for name in lines[0]]
    kept = [index for index, name in enumerate(header) if not name.startswith("lr/pg") or name == "lr/pg0"]
    named = [[_NAMES.get(name, name) for name in header], *lines[1:]]
    return "".join(_line(row, kept) for row in named)


def _line(row: list[str], kept: Iterable[int]) -> str:
    return ",".join(row[index].strip() for index in kept) + "\n"
