"""What a recipe brings to the loop: a network, its data, its losses, and a way to measure it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

Batch = Mapping[str, Any]
"""What `collate` makes; tensors in it, also in lists and mappings, are moved to the device."""

Check = Callable[[], None]
"""Called often; may raise to end the work."""


class Learner(Protocol):
    """Something that can be trained.

    Attributes:
        network: what is trained; on the CPU until the loop moves it.
        layers: of each parameter by its name the number of its layer, 0 at the input, the greatest at the head.
        measures: names of what `measure` gives, such as "val/accuracy".
        best_by: the one of them that chooses the best epoch unless people say otherwise, see `bloomery_worker.best`.
        conditions: what must be the same before and after an interruption, as plain values.
    """

    network: nn.Module
    layers: Mapping[str, int]
    measures: Sequence[str]
    best_by: str
    conditions: Mapping[str, object]

    def order(self, random: np.random.Generator) -> Sequence[int]:
        """The samples of one epoch in their order, by number; some may be left out, some come more than once."""
        ...

    def sample(self, index: int, random: np.random.Generator) -> Any:
        """A sample, changed at random. All that is random in it comes from `random`: it may run in another process."""
        ...

    def collate(self, samples: Sequence[Any]) -> Batch:
        """Samples as one batch."""
        ...

    def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The parts of the loss by name, each a mean over the batch's samples; their sum is made small."""
        ...

    def measure(self, network: nn.Module, check: Check) -> Mapping[str, float]:
        """How good the network is on the validation images: a value for each of `measures`, and more."""
        ...
