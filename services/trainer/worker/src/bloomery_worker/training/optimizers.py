"""Optimizers, with a learning rate for each layer, and layers that stay as they are."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bloomery_worker.training.plan import Plan

_Make = Callable[[Iterable[Any], Plan], torch.optim.Optimizer]

OPTIMIZERS: Mapping[str, _Make] = {
    "AdamW": lambda groups, plan: torch.optim.AdamW(groups, betas=(plan.momentum, 0.999)),
    "Adam": lambda groups, plan: torch.optim.Adam(groups, betas=(plan.momentum, 0.999)),
    "NAdam": lambda groups, plan: torch.optim.NAdam(groups, betas=(plan.momentum, 0.999)),
    "RAdam": lambda groups, plan: torch.optim.RAdam(groups, betas=(plan.momentum, 0.999)),
    "RMSprop": lambda groups, plan: torch.optim.RMSprop(groups, momentum=plan.momentum),
    "SGD": lambda groups, plan: torch.optim.SGD(groups, momentum=plan.momentum, nesterov=plan.momentum > 0),
}
"""By name."""

SCALE = "rate_scale"
"""Key of a parameter group: what the learning rate of its layer is multiplied with."""


def optimizer(network: nn.Module, layers: Mapping[str, int], plan: Plan) -> torch.optim.Optimizer:
    """An optimizer of all parameters, in groups by layer; norms and biases do not decay."""
    head = max(layers.values())
    groups: dict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for name, value in network.named_parameters():
        groups[layers[name], value.ndim > 1].append(value)
    made = [
        {
            "params": values,
            "lr": plan.lr0,
            "weight_decay": plan.weight_decay if decays else 0.0,
            SCALE: plan.layer_decay ** (head - layer),
        }
        for (layer, decays), values in sorted(groups.items(), key=lambda item: item[0])
    ]
    return OPTIMIZERS[plan.optimizer](made, plan)


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives each group its learning rate; `rate` is that of the head."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SCALE]


def thaw(network: nn.Module, layers: Mapping[str, int], first: int) -> None:
    """Lets the layers from number `first` on learn, and keeps those before it as they are, norms' statistics too."""
    learning = {name for name, layer in layers.items() if layer >= first}
    for name, value in network.named_parameters():
        value.requires_grad_(name in learning)
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, _BatchNorm) and own and not any(value.requires_grad for value in own):
            module.eval()
