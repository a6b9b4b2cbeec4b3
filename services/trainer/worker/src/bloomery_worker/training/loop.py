"""Epochs that can be interrupted anywhere and go on with the same bits.

Randomness is anchored: what happens in an epoch depends on the stored state, the seed and the epoch's number alone, see
`seeds`. Learning rates and what is frozen are functions of the epoch. A checkpoint is written at each epoch's end.
"""

import logging
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from bloomery_worker.best import BestBy
from bloomery_worker.failures import ConfigError
from bloomery_worker.training import batches, devices, optimizers, seeds
from bloomery_worker.training import state as states
from bloomery_worker.training.average import Average
from bloomery_worker.training.learner import Batch, Learner
from bloomery_worker.training.plan import Plan
from bloomery_worker.training.schedules import factor
from bloomery_worker.training.stopping import Stopper
from bloomery_worker.training.telling import Telling
from bloomery_worker.waiting import Waiting

STATE_FILE = "state.pt"
BEST_FILE = "best.pt"

Show = Callable[[nn.Module, int, bool], None]
"""Is given the averaged network after an epoch, the number of epochs, and whether it was the last one."""

Write = Callable[[Mapping[str, Tensor], Path], None]
"""Is given the averaged weights, and a folder."""

_LOG = logging.getLogger("bloomery.training")


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training leaves: how many epochs were done, the best one, its weights, and what was measured in each."""

    epochs: int
    best_epoch: int
    weights: Mapping[str, Tensor]
    history: list[dict[str, float]]


class Loop:
    """One training.

    Args:
        learner: what is trained; its network is on the device.
        plan: how.
        batch: samples of a step.
        device: to compute on.
        folder: for checkpoints, one folder each, and for the best weights.
        telling: is told how it goes.
        write: puts weights that other trainings can start from into the folder of a checkpoint.
        resume_from: folder of a checkpoint of the same job.
    """

    def __init__(
        self,
        learner: Learner,
        plan: Plan,
        *,
        batch: int,
        device: torch.device,
        folder: Path,
        telling: Telling,
        write: Write,
        resume_from: Path | None = None,
    ) -> None:
        self._learner, self._plan, self._batch, self._device = learner, plan, batch, device
        self._folder, self._telling, self._write = folder, telling, write
        self._head = max(learner.layers.values())
        if plan.freeze > self._head:
            hint = "choose fewer: the last one has to learn"
            raise ConfigError(f"freeze: {plan.freeze} layers of {self._head + 1} would leave none to learn", hint=hint)
        own = BestBy(learner.best_by)
        best_by = BestBy(plan.best_by) if plan.best_by else own
        # A name that nothing has shows now, and not after an epoch.
        best_by.score(dict.fromkeys(learner.measures, 0.0))
        self._stopper = Stopper(best_by, own, plan.patience)
        self._optimizer = optimizers.optimizer(learner.network, learner.layers, plan)
        self._average = Average(learner.network, plan.ema)
        half, mixed = devices.half(device), devices.is_mixed(device, plan)
        self._autocast = torch.autocast(device.type, dtype=half, enabled=mixed)
        self._scaler = torch.amp.GradScaler(device.type, enabled=mixed and half is torch.float16)
        self._history: list[dict[str, float]] = []
        self._done, self._began, self._waiting = 0, time.monotonic(), Waiting()
        if resume_from is not None:
            self._put(states.load(resume_from / STATE_FILE), resume_from)

    def run(self, show: Show) -> Trained:
        """Trains to the end."""
        while not self._is_over:
            self._epoch(show)
        weights = states.load_tensors(self._folder / BEST_FILE)
        return Trained(self._done, self._stopper.epoch, weights, self._history)

    def _epoch(self, show: Show) -> None:
        self._telling.check()
        seeds.anchor(self._plan.seed, self._done)
        frozen = self._done < self._plan.frozen_epochs
        optimizers.thaw(self._learner.network, self._learner.layers, self._head if frozen else self._plan.freeze)
        keys = batches.keys(self._learner, seed=self._plan.seed, epoch=self._done)
        steps = batches.split(keys, self._batch)
        losses = self._train(steps)
        measured = {**losses, **self._learner.measure(self._average.network, self._telling.check)}
        self._done += 1
        self._history.append({"epoch": self._done, "time": time.monotonic() - self._began, **measured})
        best = self._stopper.is_best(self._done, measured)
        self._keep(best=best)
        self._telling.epoch_end(self._done, len(steps), {**measured, "train/data_wait": self._waiting.share})
        show(self._average.network, self._done, self._is_over)

    @property
    def _is_over(self) -> bool:
        return self._done == self._plan.epochs or self._stopper.is_hopeless(self._done)

    def _train(self, steps: list[list[batches.Key]]) -> dict[str, float]:
        """Goes through the samples once. Returns the mean of each loss, and the last learning rate."""
        workers = self._plan.workers if self._device.type != "cpu" else 0
        sums: dict[str, float] = defaultdict(float)
        seen, rate = 0, 0.0
        self._waiting.begin()
        for number, batch in enumerate(batches.load(self._learner, steps, workers=workers)):
            self._waiting.arrived()
            self._telling.check()
            last = min(len(steps), (number // self._plan.accumulate + 1) * self._plan.accumulate)
            group = steps[number - number % self._plan.accumulate : last]
            rate = self._plan.lr0 * factor(self._plan, self._done + (number + 1) / len(steps))
            size = len(steps[number])
            losses = self._backward(batch, size / sum(map(len, group)))
            if number + 1 == last:
                self._step(rate)
            seen += size
            for name, value in losses.items():
                sums[name] += value * size
            told = {f"train/{name}": value for name, value in losses.items()}
            self._telling.step(self._done, number + 1, len(steps), {**told, "lr": rate})
            self._waiting.used()
        return {**{f"train/{name}": value / seen for name, value in sums.items()}, "lr": rate}

    def _backward(self, batch: Batch, share: float) -> dict[str, float]:
        """Adds the gradients of a batch, which is such a share of its step's samples. Returns its losses."""
        with self._autocast:
            losses = self._learner.losses(self._learner.network, batches.moved(batch, self._device))
            total = torch.stack(list(losses.values())).sum()
        values = {"loss": total.item(), **{name: value.item() for name, value in losses.items()}}
        if not math.isfinite(values["loss"]):
            hint = "choose a smaller lr0, or clip the gradients"
            raise ConfigError(f"the loss is no finite number in epoch {self._done + 1}", hint=hint)
        if total.requires_grad:
            self._scaler.scale(total * share).backward()  # type: ignore[no-untyped-call]
        return values

    def _step(self, rate: float) -> None:
        optimizers.set_rates(self._optimizer, rate)
        if self._plan.clip:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._learner.network.parameters(), self._plan.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._average.update(self._learner.network)

    def _keep(self, *, best: bool) -> None:
        """Writes the checkpoint of the newest epoch, with the weights of the best one."""
        folder = self._folder / str(self._done)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if best:
            states.save(self._average.network.state_dict(), self._folder / BEST_FILE)
        else:
            shutil.copyfile(self._folder / BEST_FILE, folder / BEST_FILE)
        self._write(self._average.network.state_dict(), folder)
        states.save(self._state(), folder / STATE_FILE)
        self._telling.checkpoint(folder, self._done, best=best)

    def _state(self) -> Mapping[str, object]:
        return states.State(
            conditions=self._conditions(),
            threads=torch.get_num_threads(),
            batch=self._batch,
            epoch=self._done,
            network=self._learner.network.state_dict(),
            average=self._average.network.state_dict(),
            updates=self._average.updates,
            optimizer=self._optimizer.state_dict(),
            scaler=self._scaler.state_dict(),
            best_epoch=self._stopper.epoch,
            best_score=self._stopper.score,
            history=self._history,
            elapsed=time.monotonic() - self._began,
        )

    def _conditions(self) -> dict[str, object]:
        return states.conditions(self._plan, self._learner.conditions, self._device)

    def _put(self, state: states.State, folder: Path) -> None:
        """Goes on after the epoch of a state."""
        if loose := states.check(state["conditions"], self._conditions()):
            _LOG.warning("training goes on with other bits than without the interruption: %s differ", ", ".join(loose))
        # Sums are split by thread: another number gives other bits.
        torch.set_num_threads(state["threads"])
        self._learner.network.load_state_dict(state["network"])
        self._average.network.load_state_dict(state["average"])
        self._average.updates = state["updates"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._stopper.epoch, self._stopper.score = state["best_epoch"], state["best_score"]
        self._history, self._done = state["history"], state["epoch"]
        self._began -= state["elapsed"]
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = folder / BEST_FILE
        best = states.load_tensors(kept) if kept.exists() else cast("Mapping[str, Tensor]", state["average"])
        states.save(best, self._folder / BEST_FILE)
