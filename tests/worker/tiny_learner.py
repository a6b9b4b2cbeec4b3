"""Something to train that takes milliseconds: points of three classes, a network with norm and dropout."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bloomery_worker.training.learner import Batch, Check

CLASSES, FEATURES = 3, 6


class TinyLearner:
    """See `training.learner.Learner`."""

    best_by = "val/accuracy"
    measures: Sequence[str] = ("val/accuracy", "val/loss")
    conditions: Mapping[str, object] = {"network": "tiny"}

    def __init__(self, *, samples: int = 50) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(
            nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, CLASSES)
        )
        self.layers: Mapping[str, int] = {
            "0.weight": 0,
            "0.bias": 0,
            "1.weight": 0,
            "1.bias": 0,
            "4.weight": 1,
            "4.bias": 1,
        }
        random = np.random.default_rng(1)
        self._classes = np.arange(samples) % CLASSES
        self._points = random.normal(size=(samples, FEATURES)) + self._classes[:, None]

    def order(self, random: np.random.Generator) -> Sequence[int]:
        """All points, shuffled."""
        return [int(index) for index in random.permutation(len(self._points))]

    def sample(self, index: int, random: np.random.Generator) -> tuple[Tensor, int]:
        """A point with noise."""
        point = self._points[index] + random.normal(size=FEATURES) * 0.1
        return torch.from_numpy(point).float(), int(self._classes[index])

    def collate(self, samples: Sequence[tuple[Tensor, int]]) -> Batch:
        """`points` [B, FEATURES], `classes` [B]."""
        points, classes = zip(*samples, strict=True)
        return {"points": torch.stack(points), "classes": torch.tensor(classes)}

    def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross entropy."""
        return {"class_loss": cross_entropy(network(batch["points"]), batch["classes"])}

    def measure(self, network: nn.Module, check: Check) -> Mapping[str, float]:
        """On the points without noise."""
        check()
        with torch.no_grad():
            logits = network(torch.from_numpy(self._points).float())
        truth = torch.from_numpy(self._classes)
        right = (logits.argmax(dim=1) == truth).float().mean().item()
        return {"val/accuracy": right, "val/loss": cross_entropy(logits, truth).item()}
