"""Adapters inside the library's trainer: what is frozen, what its optimizer sees, and what its files hold."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bloomery_recipe_yolo.library import BaseTrainer, unwrap_model
from bloomery_recipe_yolo.lora import injecting
from bloomery_recipe_yolo.lora.adapter import Adapter, unmerged
from bloomery_recipe_yolo.lora.spec import ATTRIBUTE, Spec
from bloomery_worker.failures import ConfigError


class AdaptedTrainer(BaseTrainer):
    """Mix into a trainer, before it in the order of bases. Without a spec it changes nothing.

    Attributes:
        spec: the adapter that is trained; None for all weights.
        base_state: what the base has, by the names of its own state.
    """

    def __init__(self, overrides: dict[str, object], *, spec: Spec | None) -> None:
        self.spec = spec
        self.base_state: Mapping[str, Tensor] = {}
        super().__init__(overrides=overrides)

    def get_model(self, cfg: object = None, weights: nn.Module | None = None, verbose: bool = True) -> nn.Module:
        """The model for the data's classes, with what the base knows, and with adapters."""
        model = super().get_model(cfg, weights, verbose)
        if self.spec is None or weights is None:
            return model
        self.base_state = weights.float().state_dict()
        injecting.inject(model, self.spec)
        # The library sets what is frozen by now to be trained, with a warning for each tensor.
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.dtype.is_floating_point)
        return model

    def _build_train_pipeline(self) -> None:
        if self.spec is not None:
            model = unwrap_model(self.model)
            own = set(injecting.own_names(model))
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in own)
        super()._build_train_pipeline()

    def build_optimizer(self, model: nn.Module, *arguments: Any, **named: Any) -> torch.optim.Optimizer:
        """An optimizer of what is trained only."""
        optimizer = super().build_optimizer(model, *arguments, **named)
        if self.spec is not None:
            for group in optimizer.param_groups:
                group["params"] = [one for one in group["params"] if one.requires_grad]
        return optimizer

    def _model_train(self) -> None:
        super()._model_train()
        if self.spec is not None:
            # Averages that go on moving would be a change that no adapter holds.
            for layer in filter(_is_norm, self.model.modules()):
                layer.eval()

    def _handle_nan_recovery(self, epoch: int) -> bool:
        if self.spec is not None and not torch.isfinite(self.loss).all():
            hint = "train with a smaller lora_lr0, or a smaller lora_alpha"
            raise ConfigError(f"the loss is no finite number in epoch {epoch + 1}", hint=hint)
        return super()._handle_nan_recovery(epoch)

    def save_model(self) -> bool:
        """Writes the library's files, with merged models: others could not be loaded as data."""
        with self._merged_average():
            return super().save_model()

    @contextmanager
    def _merged_average(self) -> Iterator[None]:
        average = self.ema.ema
        if self.spec is not None:
            own = Adapter.taken(average, self.spec)
            merged = self.with_adapter(own)
            injecting.merge(merged)
            setattr(merged, ATTRIBUTE, own.packed())
            self.ema.ema = merged
        try:
            yield
        finally:
            self.ema.ema = average

    def with_adapter(self, own: Adapter) -> nn.Module:
        """The base with an adapter, unmerged, on the CPU in float32."""
        return unmerged(self.ema.ema, unwrap_model(self.model).state_dict(), own)

    def check_frozen(self) -> float:
        """Looks whether training will change the adapter and nothing else, and returns its part of all parameters.

        Raises:
            ConfigError: names what else would change, or is not the base's.
        """
        model = unwrap_model(self.model)
        self._model_train()
        if wrong := [*_wrongly_trained(model, self.optimizer), *_not_of_base(model, self.base_state)]:
            hint = "this base cannot be adapted as it is; train it with the method full"
            raise ConfigError(f"not only the adapter would be trained: {', '.join(wrong[:5])}", hint=hint)
        return injecting.share(model)


def _is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001 - what all of them are


def _wrongly_trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[str]:
    own = set(injecting.own_names(model))
    stepped = {id(one) for group in optimizer.param_groups for one in group["params"]}
    for name, parameter in model.named_parameters():
        meant = name in own
        if parameter.requires_grad is not meant or (id(parameter) in stepped) is not meant:
            yield f"{name} is {'not ' if meant else ''}trained"
    yield from (f"{name} moves" for name, layer in model.named_modules() if _is_norm(layer) and layer.training)


def _not_of_base(model: nn.Module, base: Mapping[str, Tensor]) -> Iterator[str]:
    own = set(injecting.own_names(model))
    for name, value in model.state_dict().items():
        there = base.get(injecting.base_name(name))
        if name not in own and (there is None or not torch.equal(there.to(value.device), value)):
            yield f"{injecting.base_name(name)} is not as in the base"
