"""Networks of timm as this recipe trains them: uint8 images in, logits out, normalised inside."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models import group_parameters
from torch import Tensor, nn


class Classifier(nn.Module):
    """A network with what has to happen to pixels before it.

    Args:
        body: takes float32 [B, 3, H, W], normalised; gives logits [B, C].
        mean: of red, green and blue in the images that its weights come from, 0 to 1.
        std: their standard deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Runs uint8 RGB [B, H, W, 3]; returns logits [B, C]."""
        return cast("Tensor", self.body((images.permute(0, 3, 1, 2).float() - self.mean) / self.std))


class Probabilities(nn.Module):
    """A classifier that tells probabilities.

    Args:
        network: gives logits.
        activation: "softmax", or "sigmoid" where each class was learnt against all others.
        bias: [C], added to the logits: where the borders between classes lie.
    """

    bias: Tensor

    def __init__(self, network: nn.Module, activation: str, bias: Tensor) -> None:
        super().__init__()
        self.network, self._activation = network, activation
        self.register_buffer("bias", bias)

    def forward(self, images: Tensor) -> Tensor:
        """Runs uint8 RGB [B, H, W, 3]; returns float32 [B, C], 0 to 1."""
        logits: Tensor = self.network(images).float() + self.bias
        return torch.sigmoid(logits) if self._activation == SIGMOID else torch.softmax(logits, dim=1)


SOFTMAX, SIGMOID = "softmax", "sigmoid"


def build(architecture: str, classes: int, *, dropout: float = 0.0) -> Classifier:
    """A network of an architecture that timm knows, with random weights."""
    body = timm.create_model(architecture, pretrained=False, num_classes=classes, drop_rate=dropout)
    known = resolve_model_data_config(body)  # type: ignore[no-untyped-call]
    return Classifier(body, known["mean"], known["std"])


def layers(network: Classifier) -> Mapping[str, int]:
    """Of each parameter the number of its layer, as timm groups them; the head is the last."""
    body = cast("Any", network.body)
    grouped = group_parameters(body, body.group_matcher(coarse=True))
    head = set(dict(body.get_classifier().named_parameters(prefix=body.pretrained_cfg["classifier"])))
    last = max(grouped) + 1
    found = {name: number for number, names in grouped.items() for name in names}
    numbers = {name: last if name in head else number for name, number in found.items()}
    dense = {number: place for place, number in enumerate(sorted(set(numbers.values())))}
    return {f"body.{name}": dense[number] for name, number in numbers.items()}
