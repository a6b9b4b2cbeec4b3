"""All that a training is between two epochs, as one file that holds nothing but tensors and plain values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from bloomery_worker.failures import ConfigError

FORMAT = 1

_NUMERICS = frozenset({"torch", "numpy", "device", "cpu"})
"""Conditions under which training goes on when they differ, but with other bits."""


class State(TypedDict):
    """A training after `epoch` epochs."""

    conditions: dict[str, object]
    threads: int
    batch: int
    epoch: int
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    updates: int
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    best_epoch: int
    best_score: list[float]
    history: list[dict[str, float]]
    elapsed: float


def conditions(plan: object, learner: Mapping[str, object], device: torch.device) -> dict[str, object]:
    """What must be the same before and after an interruption."""
    return {
        "format": FORMAT,
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "device": device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "plan": repr(plan),
        **{name: repr(value) for name, value in learner.items()},
    }


def check(then: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """The names of conditions that differ but only change the bits of the result.

    Raises:
        ConfigError: one differs that makes going on impossible.
    """
    different = [name for name in now if then.get(name) != now[name]]
    fatal = [f"{name} was {then.get(name)}, is {now[name]}" for name in different if name not in _NUMERICS]
    if fatal:
        hint = "start a new job, or run this one with the versions that it began with"
        raise ConfigError(f"training cannot go on from its checkpoint: {'; '.join(fatal)}", hint=hint)
    return different


def save(content: Mapping[str, object], path: Path) -> None:
    """Writes a file that is there as a whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as stream:
        torch.save(_on_cpu(content), stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def load(path: Path) -> State:
    """Reads a state; only tensors and plain values are accepted."""
    return cast("State", load_tensors(path))


def load_tensors(path: Path) -> Mapping[str, Any]:
    """Reads what `save` wrote."""
    return cast("Mapping[str, Any]", torch.load(path, map_location="cpu", weights_only=True))


def _on_cpu(value: object) -> object:
    match value:
        case torch.Tensor():
            return value.detach().cpu()
        case Mapping():
            return {key: _on_cpu(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_on_cpu(item) for item in value)
        case np.generic():
            return value.item()
        case _:
            return value
