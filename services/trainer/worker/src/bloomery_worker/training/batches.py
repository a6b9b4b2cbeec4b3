"""The batches of an epoch: the same ones whatever the number of processes that load them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bloomery_worker.training.learner import Batch, Learner
from bloomery_worker.training.seeds import number

Key = tuple[int, int]
"""A sample by its number, and the seed of its changes."""

LEAST = 2
"""Samples of a batch: norms need so many values."""


class _Samples(Dataset[Any]):
    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def __getitem__(self, key: Key) -> Any:
        index, seed = key
        return self._learner.sample(index, np.random.default_rng(seed))


def keys(learner: Learner, *, seed: int, epoch: int) -> list[Key]:
    """The samples of an epoch in their order."""
    order = learner.order(np.random.default_rng(number(seed, epoch)))
    return [(int(index), number(seed, epoch, place)) for place, index in enumerate(order)]


def split(samples: Sequence[Key], batch: int) -> list[list[Key]]:
    """The samples in batches.

    One that is alone is taken twice, with other changes: norms need two values at least.
    """
    batches = (list(samples[start : start + batch]) for start in range(0, len(samples), batch))
    return [one if len(one) >= LEAST else _twice(*one) for one in batches]


def _twice(sample: Key) -> list[Key]:
    index, seed = sample
    return [sample, (index, seed + 1)]


def load(learner: Learner, batches: Sequence[list[Key]], *, workers: int) -> Iterator[Batch]:
    """The batches, in their order; what is random in them comes from their keys alone."""
    return iter(
        DataLoader(
            _Samples(learner),
            batch_sampler=batches,
            collate_fn=learner.collate,
            num_workers=workers,
            # Else it would draw from the generator of the network's dropout.
            generator=torch.Generator(),
        )
    )


def moved(value: Any, device: torch.device) -> Any:
    """A batch on a device."""
    match value:
        case torch.Tensor():
            return value.to(device, non_blocking=True)
        case Mapping():
            return {key: moved(item, device) for key, item in value.items()}
        case list() | tuple():
            return [moved(item, device) for item in value]
        case _:
            return value
