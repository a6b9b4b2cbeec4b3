"""Networks of transformers as this recipe trains them: uint8 images in, queries with scores and boxes out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForObjectDetection,
    PretrainedConfig,
    RTDetrConfig,
    RTDetrResNetConfig,
)

from bloomery_worker.failures import ConfigError

KINDS = ("rt_detr", "rt_detr_v2", "d_fine")
"""The types of models of transformers that are trained here."""
MOST = 300
"""Boxes that an exported network tells of an image."""
STRIDE = 32
"""What sides of an input are multiples of."""

_BACKBONES: Mapping[str, dict[str, Any]] = {
    "rtdetr_tiny": {
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "hidden_sizes": [16, 32, 48, 64],
        "embedding_size": 16,
    },
    "rtdetr_r18": {"depths": [2, 2, 2, 2], "layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]},
    "rtdetr_r34": {"depths": [3, 4, 6, 3], "layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]},
    "rtdetr_r50": {"depths": [3, 4, 6, 3], "layer_type": "bottleneck", "hidden_sizes": [256, 512, 1024, 2048]},
}
_HEADS: Mapping[str, dict[str, Any]] = {
    "rtdetr_tiny": {
        "d_model": 64, "encoder_hidden_dim": 64, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "hidden_expansion": 0.5, "num_queries": 100,
        "num_denoising": 50, "decoder_in_channels": [64, 64, 64],
    },
    "rtdetr_r18": {"hidden_expansion": 0.5, "decoder_layers": 3},
    "rtdetr_r34": {"hidden_expansion": 0.5, "decoder_layers": 4},
    "rtdetr_r50": {"hidden_expansion": 1.0, "decoder_layers": 6},
}  # fmt: skip
_STAGES: Mapping[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
SIZES = tuple(_BACKBONES)
"""Networks of random weights by name."""

_LAYERS = (
    re.compile(r"backbone\.model\.embedder"),
    re.compile(r"backbone\.model\.encoder\.stages\.[01]\."),
    re.compile(r"backbone\.model\.encoder\.stages\.2\."),
    re.compile(r"backbone"),
    re.compile(r"encoder(_input_proj)?\."),
    re.compile(r"decoder\.(layers|query_pos_head)|decoder_input_proj|enc_output"),
)
"""Parameters of each layer, the first that fits; what fits none are the heads."""


def random_config(size: str) -> PretrainedConfig:
    """The configuration of a network of random weights."""
    backbone = RTDetrResNetConfig(**_BACKBONES[size], **_STAGES)
    # Norms that learnt nothing cannot stay as they are.
    return RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=backbone.hidden_sizes[1:],
        freeze_backbone_batch_norms=False,
        **_HEADS[size],
    )


def read_config(content: Mapping[str, Any]) -> PretrainedConfig:
    """A configuration from what a `config.json` says. Raises ConfigError where it is none of ours."""
    kind = content.get("model_type")
    if kind not in KINDS:
        hint = f"choose weights of one of {', '.join(KINDS)}"
        raise ConfigError(f"the base weights are of a model of type {kind}", hint=hint)
    rest = {name: value for name, value in content.items() if name not in ("model_type", "transformers_version")}
    return AutoConfig.for_model(kind, **rest)


def fitted(config: PretrainedConfig, classes: Sequence[str], side: int) -> PretrainedConfig:
    """The same for other classes, and for square images of a side; of a short one there may be fewer places to ask."""
    places = sum((side // stride) ** 2 for stride in config.feat_strides)
    config.num_queries = min(config.num_queries, places)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: number for number, name in enumerate(classes)}
    config.num_labels = len(classes)
    config.anchor_image_size = None
    return config


class Detector(nn.Module):
    """A network with what has to happen to pixels before it.

    Args:
        body: a model of transformers; takes float32 [B, 3, H, W], 0 to 1.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def described(self) -> Mapping[str, Any]:
        """The configuration, as transformers' config.json has it."""
        config: PretrainedConfig = self.body.config  # type: ignore[assignment]
        return config.to_dict()

    def forward(self, images: Tensor, labels: list[dict[str, Tensor]] | None = None) -> Any:
        """Runs uint8 RGB [B, H, W, 3]; returns what the library's model does, with losses where there are labels.

        Labels of an image: `class_labels` int64 [N], `boxes` float32 [N, 4] (centre and size, shares of the sides).
        """
        pixels = images.permute(0, 3, 1, 2).float() / 255
        return self.body(pixel_values=pixels, labels=labels)


class Boxes(nn.Module):
    """A detector that tells its best boxes.

    Each query may answer for several classes, as the network was taught to.
    """

    def __init__(self, network: Detector) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Runs uint8 RGB [B, H, W, 3]; returns float32 [B, K, 6], best first: corners in pixels, score, class."""
        height, width = images.shape[1:3]
        found = self.network(images)
        logits = found.logits.float()
        classes = logits.shape[-1]
        count = min(MOST, logits.shape[1] * classes)
        scores, places = torch.sigmoid(logits).flatten(1).topk(count, dim=1)
        queries = torch.div(places, classes, rounding_mode="floor")
        boxes = found.pred_boxes.float().gather(1, queries.unsqueeze(-1).expand(-1, -1, 4))
        half = boxes[..., 2:] / 2
        corners = torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), dim=-1)
        sides = torch.tensor([width, height, width, height], dtype=torch.float32, device=corners.device)
        labels = (places - queries * classes).float()
        return torch.cat((corners * sides, scores.unsqueeze(-1), labels.unsqueeze(-1)), dim=-1)


def build(config: PretrainedConfig) -> Detector:
    """A network of a configuration, with random weights."""
    return Detector(AutoModelForObjectDetection.from_config(config))  # type: ignore[no-untyped-call]


def layers(network: nn.Module) -> Mapping[str, int]:
    """Of each parameter the number of its layer: the backbone's first, the neck, the decoder, the heads as the last."""
    found = {name: _layer(name) for name, _ in network.named_parameters()}
    dense = {number: place for place, number in enumerate(sorted(set(found.values())))}
    return {name: dense[number] for name, number in found.items()}


def _layer(name: str) -> int:
    return next((number for number, part in enumerate(_LAYERS) if part.search(name)), len(_LAYERS))
