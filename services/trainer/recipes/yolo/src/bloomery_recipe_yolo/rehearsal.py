"""Steps before the first one, on a copy of the model: what a step takes, and how many images fit."""

import time
from copy import deepcopy
from typing import Any

import torch

from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_recipe_yolo.library import unwrap_model
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.memory import DeviceMemory, NoRoomError, Step, rehearse
from bloomery_worker.messages import ProgressNote
from bloomery_worker.rehearsing import CPU_SECONDS, tell

_FLOAT = 4


def report(context: Context, trainer: ExactTrainer) -> None:
    """Makes the steps on the trainer's device and says what they took. Leaves the trainer as it is, but not its seeds.

    Raises:
        HostMemoryError, GpuMemoryError: the job's batch does not fit.
        StopRequestedError: somebody wants the work to end.
    """
    epochs = int(context.parameters["epochs"])
    context.progress(ProgressNote(phase="preflight", epochs=epochs, device=machine.device_name()))
    images = len(trainer.train_loader.dataset)
    batch = min(trainer.batch_size, images)
    memory = DeviceMemory(trainer.device.type, host_bytes=context.job.memory_bytes)
    copy = _Copy(context, trainer, memory)
    done = rehearse(copy.step, batch, memory, seconds=float("inf") if memory.on_gpu else CPU_SECONDS)
    copy.discard()
    tell(context, done, memory, device=machine.device_name(), steps_per_epoch=len(trainer.train_loader))


class _Copy:
    """A copy of a trainer's model that is thrown away after some steps."""

    def __init__(self, context: Context, trainer: ExactTrainer, memory: DeviceMemory) -> None:
        self._context, self._trainer, self._memory = context, trainer, memory
        self._model: Any = deepcopy(unwrap_model(trainer.model)).train()
        sizes = [(value.numel(), value.requires_grad) for value in self._model.parameters()]
        # The optimizer's two moments do not exist yet; the copy itself stands for as much.
        moments = 2 * sum(size for size, trained in sizes if trained)
        self._missing = max(0, moments - sum(size for size, _ in sizes)) * _FLOAT

    def step(self, batch: int) -> Step:
        """Loads images and goes forward and backward. Raises NoRoomError, StopRequestedError."""
        self._context.check_stop()
        self._memory.forget_peak()
        began = time.monotonic()
        try:
            self._compute(self._images(batch))
        except (torch.OutOfMemoryError, MemoryError) as problem:
            raise NoRoomError(str(problem)) from problem
        if self._memory.on_gpu:
            torch.cuda.synchronize()
        return Step(batch, self._memory.peak_bytes() + self._missing, time.monotonic() - began)

    def discard(self) -> None:
        """Gives the memory back."""
        del self._model
        if self._memory.on_gpu:
            torch.cuda.empty_cache()

    def _images(self, batch: int) -> dict[str, object]:
        loader = self._trainer.train_loader
        samples = loader.collate_fn([loader.dataset[index] for index in range(batch)])
        return self._trainer.preprocess_batch(samples)

    def _compute(self, batch: dict[str, object]) -> None:
        self._model.zero_grad(set_to_none=True)
        with torch.autocast(self._trainer.device.type, enabled=bool(self._trainer.amp)):
            loss, _ = self._model(batch)
        loss.sum().backward()
