"""A moving average of weights: steadier than the newest ones, and what is measured and published."""

from copy import deepcopy

import torch
from torch import nn


class Average:
    """The average of a network's weights and statistics.

    Args:
        network: whose.
        decay: the share of the old average that is kept at a step, in the long run; less in the first steps, as
            TensorFlow's `ExponentialMovingAverage`: (1 + n) / (10 + n) at most. 0 for the newest weights alone.

    Attributes:
        network: with the averaged weights, for evaluation.
        updates: steps so far.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(False)
        self.updates, self._decay = 0, decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Takes a step's weights in."""
        self.updates += 1
        kept = min(self._decay, (1 + self.updates) / (10 + self.updates))
        newest = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(newest[name].to(value.dtype), 1 - kept)
            else:
                value.copy_(newest[name])
