"""A detector that learns from the boxes of images."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bloomery_recipe_detr import networks, published
from bloomery_recipe_detr.images import Scene, Scenes, changed, framed, mirrored
from bloomery_vision.decoders import YOLO_END_TO_END
from bloomery_worker.augmenting import pipeline_of
from bloomery_worker.board import Board
from bloomery_worker.context import Context
from bloomery_worker.evaluate import DetectionEvaluator
from bloomery_worker.evaluation import Evaluation
from bloomery_worker.failures import ConfigError
from bloomery_worker.predictor import Images, Outputs
from bloomery_worker.samples import Samples
from bloomery_worker.training.figures import draw_boxes
from bloomery_worker.training.learner import Batch, Check
from bloomery_worker.training.room import room

_MEANS = ("map50", "map50_95", "precision", "recall", "f1")
_PER_CLASS = ("precision", "recall", "f1")
_MOST_CLASSES = 50
"""Of more, no figures of each are told in every epoch: a job has 200 at most."""
_PART = re.compile(r"loss_([a-z]+?)(_(aux|dn|enc).*)?")
_NAMES = {"vfl": "class_loss", "bbox": "box_loss", "giou": "giou_loss", "fgl": "fine_loss", "ddf": "distill_loss"}


class DetectorLearner:
    """See `training.family.Trainee`.

    Args:
        context: of the job.
        network: what is trained.

    Raises:
        ConfigError: the input has sides that the network cannot take.
    """

    best_by = "val/map50_95"

    def __init__(self, context: Context, network: networks.Detector) -> None:
        given, dataset = context.parameters, context.dataset
        self._context, self.classes, self.side = context, context.job.classes, int(given["imgsz"])
        if self.side % networks.STRIDE:
            near = round(self.side / networks.STRIDE) * networks.STRIDE
            raise ConfigError(f"imgsz: {self.side} is no multiple of {networks.STRIDE}", hint=f"choose {near}")
        self.network: nn.Module = network
        self.layers: Mapping[str, int] = networks.layers(network)
        self._config = network.described()
        self._train = Scenes(dataset, "train", self.classes, self.side, room=room(context.job))
        self._change = pipeline_of(given)
        self._scale, self._fliplr, self._flipud = (float(given[name]) for name in ("scale", "fliplr", "flipud"))
        # What no validation image has is not measured.
        seen = {shape.label for row in dataset.rows("val") for shape in row.shapes if not shape.crowd}
        told = [name for name in self.classes if name in seen] if len(self.classes) <= _MOST_CLASSES else ()
        each = [f"val/{mean}/{name}" for name in told for mean in _PER_CLASS]
        self.measures: Sequence[str] = [*(f"val/{mean}" for mean in _MEANS), *each]
        self.conditions: Mapping[str, object] = {
            "network": sorted(network.state_dict()), "images": dataset.index.content_hash, "classes": self.classes,
            "parameters": sorted(given.items()),
        }  # fmt: skip
        self._found: Evaluation | None = None
        crowds = self._train.crowds
        self.data: Mapping[str, object] = {
            "images": dict(dataset.counts),
            "left_out": {"crowds": crowds} if crowds else {},
        }

    def order(self, random: np.random.Generator) -> Sequence[int]:
        """All images once, shuffled."""
        return [int(index) for index in random.permutation(len(self._train))]

    def sample(self, index: int, random: np.random.Generator) -> Scene:
        """An image in the network's square, with its boxes."""
        scene = framed(self._train[index], self.side, self._scale, random)
        if random.random() < self._fliplr:
            scene = mirrored(scene, across=True)
        if random.random() < self._flipud:
            scene = mirrored(scene, across=False)
        return changed(scene, self._change, seed=int(random.integers(2**32))) if self._change else scene

    def collate(self, samples: Sequence[Scene]) -> Batch:
        """`images` uint8 [B, side, side, 3], and `labels` of each as `Detector.forward` takes them."""
        images = torch.from_numpy(np.stack([scene.pixels for scene in samples]))
        return {"images": images, "labels": [self._labels(scene) for scene in samples]}

    def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Those of the library, of all its layers together: of classes, boxes and their overlap."""
        found = network(batch["images"], batch["labels"]).loss_dict
        parts: dict[str, list[Tensor]] = defaultdict(list)
        for name, value in found.items():
            known = _PART.fullmatch(name)
            assert known is not None
            parts[_NAMES[known[1]]].append(value)
        return {name: torch.stack(values).sum() for name, values in parts.items()}

    def measure(self, network: nn.Module, check: Check) -> Mapping[str, float]:
        """What our own evaluation measures of the same images; 0 for what cannot be measured there."""
        evaluator = DetectionEvaluator(
            self._context.dataset, (self.side, self.side), self.classes, decoder=YOLO_END_TO_END, check=check
        )
        found = self._found = evaluator.evaluate(
            lambda images: self.predict(network, images), self._context.dataset.rows("val"), name="val"
        )
        measured = dict(found.values())
        for one in found.per_class:
            measured |= {f"val/{mean}/{one['class']}": _figure(one[mean]) for mean in _PER_CLASS}
        return {name: measured.get(name, 0.0) for name in self.measures}

    def draw(self, board: Board, epoch: int) -> None:
        """What the last `measure` has found: what is taken for what, and precision against recall."""
        if self._found is not None:
            draw_boxes(board, self._found, epoch=epoch)

    def samples(self, count: int) -> Samples:
        """Validation images to show."""
        return Samples(self._context.dataset, self.classes, YOLO_END_TO_END, (self.side, self.side), count=count)

    def predict(self, network: nn.Module, images: Images) -> Outputs:
        """Boxes float32 [B, K, 6] of uint8 RGB [B, side, side, 3]."""
        assert isinstance(network, networks.Detector)
        device = next(network.parameters()).device
        with torch.no_grad():
            return (networks.Boxes(network)(torch.from_numpy(images).to(device)).cpu().numpy(),)

    def write(self, weights: Mapping[str, Tensor], target: Path) -> None:
        """Writes the file of a model."""
        published.write(target, weights, published.About(self._config, tuple(self.classes), self.side))

    def publish(self, weights: Mapping[str, Tensor], target: Path) -> Mapping[str, object]:
        """Writes the file of the best weights."""
        self.write(weights, target)
        return {"network": self._config["model_type"]}

    def _labels(self, scene: Scene) -> dict[str, Tensor]:
        corners = torch.from_numpy(scene.boxes).float() / self.side
        first, last = corners[:, :2], corners[:, 2:]
        boxes = torch.cat(((first + last) / 2, last - first), dim=1)
        return {"class_labels": torch.from_numpy(scene.classes), "boxes": boxes}


def _figure(value: object) -> float:
    return float(value) if isinstance(value, float) else 0.0
