"""Tells how training goes, by the library's callbacks."""

from ultralytics.engine.validator import BaseValidator

from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_recipe_yolo.names import renamed
from bloomery_worker.context import Context
from bloomery_worker.messages import MetricsNote, ProgressNote
from bloomery_worker.waiting import Waiting


class Observer:
    """Reports steps and epochs of a trainer, and ends it when somebody wants that.

    Attributes:
        epoch: epochs that the last checkpoint holds.
    """

    def __init__(self, context: Context, *, device: str, epoch: int = 0) -> None:
        self._context, self._device = context, device
        self.epoch = epoch
        self._waiting = Waiting()

    def attach(self, trainer: ExactTrainer) -> None:
        """Begins to listen. What is attached later runs later."""
        trainer.add_callback("on_train_batch_end", self._batch_end)
        trainer.add_callback("on_fit_epoch_end", self._epoch_end)
        trainer.add_callback("on_val_batch_start", self._check)
        trainer.add_callback("on_train_epoch_start", self._check)
        trainer.add_callback("on_train_epoch_start", lambda _: self._waiting.begin())
        trainer.add_callback("on_train_batch_start", lambda _: self._waiting.arrived())
        trainer.add_callback("on_train_batch_end", lambda _: self._waiting.used())

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
        measured = (
            renamed({**losses, **trainer.metrics, **trainer.lr, "train/data_wait": self._waiting.share})
            | trainer.of_classes
        )
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
