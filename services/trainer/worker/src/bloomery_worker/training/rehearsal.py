"""Steps before the first one, on a copy of the network: what a step takes, and how many samples fit."""

import time
from copy import deepcopy

import numpy as np
import torch

from bloomery_worker.context import Context
from bloomery_worker.failures import GpuMemoryError, HostMemoryError
from bloomery_worker.memory import DeviceMemory, NoRoomError, Rehearsal, Step, rehearse
from bloomery_worker.rehearsing import CPU_SECONDS, tell
from bloomery_worker.training import batches, devices
from bloomery_worker.training.learner import Learner
from bloomery_worker.training.plan import Plan

_TRIED = 16
_MOST = {"cpu": 32}
"""Samples of an automatic step: beyond them a processor is no faster, and training needs more epochs."""
_MOST_ON_GPU = 256
_STEPS = 8
"""Steps that an epoch has at least with an automatic batch."""
_FLOAT = 4


def report(context: Context, learner: Learner, plan: Plan, device: torch.device) -> int:
    """Says what a step takes, and returns how many samples it has: the plan's number, or what fits.

    Raises:
        HostMemoryError, GpuMemoryError: the plan's batch does not fit, or not even the smallest where it has none.
        StopRequestedError: somebody wants the work to end.
    """
    samples = len(learner.order(np.random.default_rng(0)))
    memory = DeviceMemory(device.type, host_bytes=context.job.memory_bytes)
    copy = _Copy(context, learner, plan, device, memory)
    if plan.batch:
        batch, done = plan.batch, copy.rehearse(min(plan.batch, samples))
    else:
        done = copy.rehearse_fitting(_automatic(copy.rehearse_fitting(min(_TRIED, samples)), samples, device))
        batch = done.step.batch
    copy.discard()
    tell(context, done, memory, device=devices.name_of(device), steps_per_epoch=-(-samples // batch))
    return batch


def _automatic(tried: Rehearsal, samples: int, device: torch.device) -> int:
    """The greatest power of two that fits, is not beyond what is useful, and leaves enough steps to an epoch."""
    most = min(_MOST.get(device.type, _MOST_ON_GPU), samples // _STEPS, tried.largest_batch or tried.step.batch)
    return 1 << max(1, most.bit_length() - 1)


class _Copy:
    """A copy of a learner's network that is thrown away after some steps."""

    def __init__(
        self, context: Context, learner: Learner, plan: Plan, device: torch.device, memory: DeviceMemory
    ) -> None:
        self._context, self._learner, self._plan, self._device, self._memory = context, learner, plan, device, memory
        self._network = deepcopy(learner.network).train()
        self._keys = batches.keys(learner, seed=plan.seed, epoch=0)
        # The optimizer's two moments do not exist yet; the copy itself stands for one of them.
        self._missing = sum(value.numel() for value in self._network.parameters()) * _FLOAT

    def rehearse(self, batch: int) -> Rehearsal:
        """Finds out what a step of so many samples takes."""
        return rehearse(self._step, batch, self._memory, seconds=float("inf") if self._memory.on_gpu else CPU_SECONDS)

    def rehearse_fitting(self, batch: int) -> Rehearsal:
        """The same, of half as many as often as they do not fit, down to the fewest that norms can take."""
        while True:
            try:
                return self.rehearse(batch)
            except (GpuMemoryError, HostMemoryError):
                if batch <= batches.LEAST:
                    raise
            # Else what did not fit would count as what the smaller step takes.
            self._release()
            batch = max(batches.LEAST, batch // 2)

    def discard(self) -> None:
        """Gives the memory back."""
        del self._network
        self._release()

    def _release(self) -> None:
        if self._memory.on_gpu:
            torch.cuda.empty_cache()

    def _step(self, batch: int) -> Step:
        """Loads samples and goes forward and backward. Raises NoRoomError, StopRequestedError."""
        self._context.check_stop()
        self._memory.forget_peak()
        began = time.monotonic()
        try:
            self._compute(batch)
        except (torch.OutOfMemoryError, MemoryError) as problem:
            raise NoRoomError(str(problem)) from problem
        if self._memory.on_gpu:
            torch.cuda.synchronize()
        return Step(batch, self._memory.peak_bytes() + self._missing, time.monotonic() - began)

    def _compute(self, batch: int) -> None:
        (keys,) = batches.split(self._keys[:batch], batch)
        (loaded,) = batches.load(self._learner, [keys], workers=0)
        self._network.zero_grad(set_to_none=True)
        mixed = devices.is_mixed(self._device, self._plan)
        with torch.autocast(self._device.type, dtype=devices.half(self._device), enabled=mixed):
            losses = self._learner.losses(self._network, batches.moved(loaded, self._device))
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
