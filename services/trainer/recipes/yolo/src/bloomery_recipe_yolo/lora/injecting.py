"""Adapters in a model of the library's: where they sit, what of the model they are, and folding them in."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bloomery_recipe_yolo.lora.spec import Spec
from bloomery_worker.failures import ConfigError

if TYPE_CHECKING:
    from peft import PeftConfig
    from peft.tuners.tuners_utils import BaseTunerLayer

_POINT = (1, 1)
_LEFTOVERS = ("peft_config", "_hf_peft_config_loaded")
_BASE = ".base_layer."


def targets(model: nn.Module, spec: Spec) -> list[str]:
    """Names of the layers that get an adapter: convolutions and linear layers but those that predict, in order."""
    last = predicting(model)
    return [
        name
        for name, layer in _layers(model)
        if name not in last and _is_taken(layer, spec) and _is_meant(name, layer, model, spec)
    ]


def predicting(model: nn.Module) -> list[str]:
    """Names of the head's last layers, which are trained whole: each class has a row of its own there, in order."""
    head = f"model.{_head_number(model)}."
    # All other convolutions of the library are wrapped together with their normalisation, under the name `conv`.
    return [
        name
        for name, layer in _layers(model)
        if name.startswith(head) and (isinstance(layer, nn.Linear) or not name.endswith(".conv"))
    ]


def inject(model: nn.Module, spec: Spec) -> list[str]:
    """Puts adapters in, which change nothing as yet, and returns where.

    Raises:
        ConfigError: no layer can have one.
    """
    # It takes seconds to load, which trainings of all weights need not wait for.
    from peft import inject_adapter_in_model

    names = targets(model, spec)
    if not names:
        message = f"no layer of this model can have an adapter of the kind {spec.kind} on {spec.targets}"
        raise ConfigError(message, hint="choose other lora_targets or another adapter")
    inject_adapter_in_model(_config(spec, names), model)
    return names


def adapter_layers(model: nn.Module) -> "dict[str, BaseTunerLayer]":
    """The layers with an adapter, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}


def own_names(model: nn.Module) -> list[str]:
    """Names in the state of an adapted model of what training changes: adapters, and the layers that predict."""
    inside = tuple(f"{name}." for name in adapter_layers(model))
    last = tuple(f"{name}." for name in predicting(model))
    return [
        name for name in model.state_dict() if (name.startswith(inside) and _BASE not in name) or name.startswith(last)
    ]


def base_name(name: str) -> str:
    """The name in the base's state of what has `name` in that of the adapted model."""
    return name.replace(_BASE, ".")


def merge(model: nn.Module) -> None:
    """Folds all adapters into their layers: what is left holds classes of torch and the library only."""
    for name, layer in adapter_layers(model).items():
        layer.merge(safe_merge=True)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer.get_base_layer())
    for attribute in _LEFTOVERS:
        vars(model).pop(attribute, None)


def with_own(model: nn.Module, own: Mapping[str, Tensor]) -> None:
    """Gives an adapted model the tensors of an adapter; all others stay as they are."""
    model.load_state_dict({**model.state_dict(), **{name: value.float() for name, value in own.items()}})


def share(model: nn.Module) -> float:
    """The part of all parameters that training changes."""
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    return sum(sizes.get(name, 0) for name in own_names(model)) / sum(sizes.values())


def _layers(model: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    # The projection of box edges is a constant in the form of a convolution.
    inside = tuple(f"{name}." for name in adapter_layers(model))
    return [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and ".dfl." not in name and not name.startswith(inside)
    ]


def _is_taken(layer: nn.Conv2d | nn.Linear, spec: Spec) -> bool:
    """Whether PEFT merges a layer rightly: it pads with zeros, and LoRA knows neither groups nor dilation."""
    if isinstance(layer, nn.Linear):
        return True
    plain = layer.groups == 1 and layer.dilation == _POINT
    return layer.padding_mode == "zeros" and (plain or spec.kind != "lora")


def _is_meant(name: str, layer: nn.Conv2d | nn.Linear, model: nn.Module, spec: Spec) -> bool:
    match spec.targets:
        case "pointwise":
            return isinstance(layer, nn.Linear) or layer.kernel_size == _POINT
        case "backbone":
            return int(name.split(".")[1]) < _backbone_end(model)
        case _:
            return True


def _head_number(model: Any) -> int:
    return len(model.model) - 1


def _backbone_end(model: Any) -> int:
    """The number of the first layer behind the backbone, which is where features grow again."""
    grows = (number for number, layer in enumerate(model.model) if isinstance(layer, nn.Upsample))
    return next(grows, _head_number(model))


def _config(spec: Spec, names: list[str]) -> "PeftConfig":
    from peft import LoHaConfig, LoKrConfig, LoraConfig

    if spec.kind == "lora":
        return LoraConfig(
            r=spec.rank,
            # It takes any number.
            lora_alpha=spec.alpha,  # type: ignore[arg-type]
            lora_dropout=spec.dropout,
            target_modules=names,
            bias="none",
        )
    kind: type[Any] = {"loha": LoHaConfig, "lokr": LoKrConfig}[spec.kind]
    config: PeftConfig = kind(
        r=spec.rank,
        alpha=spec.alpha,
        rank_dropout=spec.dropout,
        # A convolution's kernel is taken apart too, else these would be as large as what they change.
        use_effective_conv2d=True,
        target_modules=names,
    )
    return config


def is_adapted(model: nn.Module) -> bool:
    """Whether a model needs PEFT to be loaded."""
    return bool(adapter_layers(model))


def finite(own: Mapping[str, Tensor]) -> bool:
    """Whether all are numbers."""
    return all(bool(torch.isfinite(value).all()) for value in own.values())
