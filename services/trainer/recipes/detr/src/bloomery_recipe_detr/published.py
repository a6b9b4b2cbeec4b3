"""The published file: weights as safetensors, which holds no code, and what has to be known to use them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bloomery_worker.failures import ConfigError, DataError

FILE = "model.safetensors"
FORMAT = 1
_KEY = "bloomery"


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of itself.

    Attributes:
        config: of the network, as transformers' config.json has it.
        classes: names in the order of their numbers.
        side: of the square input in pixels.
    """

    config: Mapping[str, Any]
    classes: tuple[str, ...]
    side: int


def write(path: Path, weights: Mapping[str, Tensor], about: About) -> None:
    """Writes a file; the same content gives the same bytes."""
    said = {"format": FORMAT, "config": dict(about.config), "classes": about.classes, "side": about.side}
    # Heads are known by several names, and written under each.
    kept = {name: value.detach().clone().contiguous() for name, value in sorted(weights.items())}
    save_file(kept, path, metadata={_KEY: json.dumps(said, sort_keys=True)})


def read_about(path: Path) -> About:
    """What a file says of itself. Raises ConfigError where it is none of ours."""
    try:
        with safe_open(path, framework="pt") as opened:
            said = (opened.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError):
        said = None
    content = json.loads(said) if said else {}
    if "config" not in content:
        raise ConfigError("the file is no model of this recipe", hint="name a model version that it has trained")
    if content["format"] != FORMAT:
        raise ConfigError("the file is of a later version of this recipe", hint="upgrade the workers")
    return About(content["config"], tuple(content["classes"]), content["side"])


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file.

    Raises:
        ConfigError: it cannot be read.
        DataError: weights are no finite numbers.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as problem:
        raise ConfigError(f"the file holds no weights: {problem}", hint="give the whole file again") from problem
    broken = [name for name, value in weights.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        hint = "take weights from before the training went wrong, or train with a smaller learning rate"
        raise DataError("weights are no finite numbers", hint=hint, items=broken)
    return weights
