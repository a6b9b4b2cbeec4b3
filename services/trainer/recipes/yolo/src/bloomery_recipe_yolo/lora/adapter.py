"""What training has changed of a base, apart from it: as tensors, and as a file that names the base."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bloomery_recipe_yolo.lora import injecting
from bloomery_recipe_yolo.lora.spec import Spec
from bloomery_worker.failures import ConfigError

FILE = "adapter.safetensors"
FORMAT = 1
_KEY = "bloomery"


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter without its base.

    Attributes:
        spec: what kind it is.
        layers: names of the layers that it changes, in order.
        tensors: float16, by their names in the adapted model.
    """

    spec: Spec
    layers: Sequence[str]
    tensors: Mapping[str, Tensor]

    @classmethod
    def taken(cls, model: nn.Module, spec: Spec) -> Self:
        """That of an adapted model, rounded as it is kept.

        Raises:
            ConfigError: it holds values that are no finite numbers.
        """
        state = model.state_dict()
        tensors = {name: state[name].detach().half().cpu().contiguous() for name in injecting.own_names(model)}
        if not injecting.finite(tensors):
            hint = "train with a smaller lora_lr0"
            raise ConfigError("the adapter holds values that are no finite numbers in half precision", hint=hint)
        return cls(spec, list(injecting.adapter_layers(model)), tensors)

    @classmethod
    def unpacked(cls, content: Mapping[str, Any]) -> Self:
        """What `packed` has made."""
        return cls(Spec(**content["spec"]), content["layers"], content["tensors"])

    def packed(self) -> dict[str, object]:
        """As plain values and tensors."""
        return {"spec": self.spec.record(), "layers": list(self.layers), "tensors": dict(self.tensors)}

    def on(self, model: nn.Module) -> None:
        """Puts it into a model without adapters, which is its base: unmerged.

        Raises:
            ConfigError: the model has other layers.
        """
        found = injecting.inject(model, self.spec)
        state = model.state_dict()
        own = {name: state[name].shape for name in injecting.own_names(model)}
        if found != list(self.layers) or own != {name: value.shape for name, value in self.tensors.items()}:
            raise ConfigError("the adapter does not fit the layers of this base", hint="name the base that it is of")
        injecting.with_own(model, self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a file of an adapter says of where it comes from, and of the model that it makes.

    Attributes:
        base: name of the base weights.
        base_digest: "sha256:" and so on, of the base's file.
        task: of the model.
        classes: names in the order of their numbers.
        arguments: of the training, without texts that may be paths.
    """

    base: str
    base_digest: str
    task: str
    classes: Sequence[str]
    arguments: Mapping[str, Any]


def write(path: Path, adapter: Adapter, origin: Origin) -> None:
    """Writes a safetensors file; its metadata has one key, "bloomery", with a JSON object."""
    said = {
        "format": FORMAT,
        "spec": adapter.spec.record(),
        "layers": list(adapter.layers),
        "base": {"name": origin.base, "digest": origin.base_digest},
        "task": origin.task,
        "classes": list(origin.classes),
        "arguments": dict(origin.arguments),
    }
    save_file(dict(adapter.tensors), str(path), metadata={_KEY: json.dumps(said, sort_keys=True)})


def read(path: Path) -> tuple[Adapter, Origin]:
    """Reads what `write` has written; nothing in such a file is code.

    Raises:
        ConfigError: it is another file.
    """
    hint = f"give the {FILE} of a training with method=lora"
    try:
        with safe_open(str(path), framework="pt") as file:
            said = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        if said["format"] != FORMAT:
            raise ConfigError(f"the adapter's file has format {said['format']}, known is {FORMAT}", hint=hint)
        adapter = Adapter(Spec(**said["spec"]), tuple(said["layers"]), tensors)
        origin = Origin(
            base=str(said["base"]["name"]),
            base_digest=str(said["base"]["digest"]),
            task=str(said["task"]),
            classes=tuple(map(str, said["classes"])),
            arguments=dict(said["arguments"]),
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as problem:
        raise ConfigError(f"the file is no adapter: {type(problem).__name__}", hint=hint) from problem
    if not injecting.finite(tensors):
        raise ConfigError("the adapter holds values that are no finite numbers", hint=hint)
    return adapter, origin


def unmerged(adapted: nn.Module, base_state: Mapping[str, Tensor], own: Adapter) -> nn.Module:
    """A copy of an adapted model on the CPU that is exactly a base with an adapter."""
    # The moving average of what never changes drifts by a rounding at each step.
    copy = deepcopy(adapted).cpu().float()
    copy.load_state_dict({**{name: value.detach().cpu() for name, value in base_state.items()}, **_floats(own)})
    return copy.eval()


def _floats(own: Adapter) -> dict[str, Tensor]:
    return {name: value.to(torch.float32) for name, value in own.tensors.items()}
