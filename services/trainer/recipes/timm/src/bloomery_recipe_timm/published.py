"""The published file: weights as safetensors, which holds no code, and what has to be known to use them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
        architecture: as timm names it.
        classes: names in the order of their numbers.
        side: of the square input in pixels.
        resize: how an image is fitted to it.
        activation: that makes probabilities of logits.
        bias: added to the logits of each class.
    """

    architecture: str
    classes: tuple[str, ...]
    side: int
    resize: str
    activation: str
    bias: tuple[float, ...]


def write(path: Path, weights: Mapping[str, Tensor], about: About) -> None:
    """Writes a file; the same content gives the same bytes."""
    said = json.dumps({"format": FORMAT, **asdict(about)}, sort_keys=True)
    save_file({name: value.contiguous() for name, value in sorted(weights.items())}, path, metadata={_KEY: said})


def read_about(path: Path) -> About | None:
    """What a file says of itself; None where it is none of ours."""
    try:
        with safe_open(path, framework="pt") as opened:
            said = (opened.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError):
        return None
    if said is None:
        return None
    content = json.loads(said)
    if content.pop("format") != FORMAT:
        raise ConfigError("the file is of a later version of this recipe", hint="upgrade the workers")
    return About(**content | {name: tuple(content[name]) for name in ("classes", "bias")})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights: safetensors, or a pickle of nothing but tensors.

    Raises:
        ConfigError: it is neither.
        DataError: weights are no finite numbers.
    """
    try:
        weights = _safetensors(path) or _pickled(path)
    except MemoryError:
        raise
    except Exception as problem:  # broken files make the unpickler raise all kinds
        line = str(problem).partition("\n")[0].replace(str(path), "it")[:300]
        hint = "give weights as safetensors, or as torch.save writes a state_dict"
        raise ConfigError(f"the file holds no weights: {line}", hint=hint) from problem
    if broken := [name for name, value in weights.items() if not torch.isfinite(value).all()]:
        hint = "take weights from before the training went wrong, or train with a smaller learning rate"
        raise DataError("weights are no finite numbers", hint=hint, items=broken)
    return weights


def _safetensors(path: Path) -> dict[str, Tensor] | None:
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError:
        return None


def _pickled(path: Path) -> dict[str, Tensor]:
    content: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        content = content[key] if isinstance(content.get(key), Mapping) else content
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}
