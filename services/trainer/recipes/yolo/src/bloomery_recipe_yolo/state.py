"""The whole state of a training at an epoch's end: taken, kept as plain values and tensors, and put back.

Randomness is not part of it: every epoch seeds all generators from the job's seed and its number (see `exact`).
"""

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
import torch
import ultralytics
from torch import Tensor

from bloomery_recipe_yolo.library import unwrap_model
from bloomery_recipe_yolo.lora.trainer import AdaptedTrainer

if TYPE_CHECKING:
    from bloomery_recipe_yolo.library import Loader

FORMAT = 1

_PLACES = frozenset({
    "project", "name", "save_dir", "exist_ok", "device", "plots", "verbose", "save_period", "resume", "model",
    "pretrained", "data", "mode",
})  # fmt: skip
"""Arguments that do not change what is computed."""


class State(TypedDict):
    """A training at the end of `epoch` (from 0). Weights are float32; `gradients` wait for their optimizer step."""

    conditions: dict[str, object]
    threads: int
    epoch: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    ema_updates: int
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    gradients: dict[str, Tensor]
    last_step: int
    criterion_updates: int | None
    best_fitness: float
    fitness: float
    metrics: dict[str, float]
    loss_names: list[str]
    stopper: dict[str, Any]
    stop: bool
    lr: dict[str, float]
    losses: dict[str, Tensor]
    elapsed: float
    table: str


def conditions(trainer: AdaptedTrainer) -> dict[str, object]:
    """What must be the same before and after an interruption."""
    files = [Path(name).name for name in (*_files(trainer.train_loader), "", *_files(trainer.test_loader))]
    arguments = sorted((key, value) for key, value in vars(trainer.args).items() if key not in _PLACES)
    return {
        "format": FORMAT,
        "ultralytics": ultralytics.__version__,
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "device": trainer.device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "workers": [trainer.train_loader.num_workers, trainer.test_loader.num_workers],
        "batch": trainer.batch_size,
        "files": hashlib.sha256("\n".join(files).encode()).hexdigest(),
        "arguments": repr(arguments),
        "adapter": None if trainer.spec is None else repr(trainer.spec),
    }


def take(trainer: AdaptedTrainer, *, last_step: int) -> State:
    """The state at the end of `trainer.epoch`; `last_step` is the batch of the newest optimizer step."""
    model = unwrap_model(trainer.model)
    state = {
        "conditions": conditions(trainer),
        "threads": torch.get_num_threads(),
        "epoch": trainer.epoch,
        "model": model.state_dict(),
        "ema": trainer.ema.ema.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "gradients": {name: value.grad for name, value in model.named_parameters() if value.grad is not None},
        "last_step": last_step,
        "criterion_updates": getattr(model.criterion, "updates", None),
        "best_fitness": trainer.best_fitness,
        "fitness": trainer.fitness,
        "metrics": trainer.metrics,
        "loss_names": list(trainer.loss_names),
        "stopper": dict(vars(trainer.stopper)),
        "stop": bool(trainer.stop),
        "lr": trainer.lr,
        "losses": trainer.tloss,
        "elapsed": time.time() - trainer.train_time_start,
        "table": trainer.csv.read_text(encoding="utf-8"),
    }
    return cast("State", _on_cpu(state))


def put(trainer: AdaptedTrainer, state: State) -> None:
    """Makes a trainer that is set up afresh go on after the epoch of `state`."""
    # Sums are split by thread: another number gives other bits.
    torch.set_num_threads(state["threads"])
    model = unwrap_model(trainer.model)
    model.load_state_dict(state["model"])
    trainer.ema.ema.load_state_dict(state["ema"])
    trainer.ema.updates = state["ema_updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    if state["criterion_updates"]:
        # The weights of an NMS-free head's two losses move with the epochs.
        model.criterion = model.init_criterion()
        model.criterion.updates = state["criterion_updates"] - 1
        model.criterion.update()
    _put_counters(trainer, state)


def _put_counters(trainer: AdaptedTrainer, state: State) -> None:
    vars(trainer.stopper).update(state["stopper"])
    trainer.best_fitness, trainer.fitness = state["best_fitness"], state["fitness"]
    trainer.metrics, trainer.lr, trainer.tloss = state["metrics"], state["lr"], state["losses"]
    # Else the first batch adds columns of zeros to the metrics.
    trainer.loss_names = tuple(state["loss_names"])
    trainer.epoch, trainer.start_epoch = state["epoch"], state["epoch"] + 1
    trainer.csv.write_text(state["table"], encoding="utf-8")


def put_gradients(trainer: AdaptedTrainer, state: State) -> None:
    """Gives back the gradients that wait for their optimizer step; the training loop clears them before its start."""
    named = dict(unwrap_model(trainer.model).named_parameters())
    for name, gradient in state["gradients"].items():
        named[name].grad = gradient.to(named[name].device)


def load(path: Path) -> State:
    """Reads a state; only tensors and plain values are accepted."""
    return cast("State", torch.load(path, map_location="cpu", weights_only=True))


def _files(loader: "Loader") -> list[str]:
    dataset = loader.dataset
    return list(getattr(dataset, "im_files", None) or [sample[0] for sample in dataset.samples])


def _on_cpu(value: object) -> object:
    match value:
        case torch.Tensor():
            return value.detach().cpu()
        case dict():
            return {key: _on_cpu(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_on_cpu(item) for item in value)
        case np.generic():
            return value.item()
        case _:
            return value
