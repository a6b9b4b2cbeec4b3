"""A classifier that learns from the tags of images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bloomery_recipe_timm import networks, published
from bloomery_recipe_timm.images import Pixels, Tagged, cropped, reduced
from bloomery_vision.classification import classification_metrics
from bloomery_vision.decoders import CENTER_CROP, PROBABILITIES
from bloomery_vision.preprocess import resize_center_crop
from bloomery_worker.augmenting import pipeline_of
from bloomery_worker.board import Board
from bloomery_worker.context import Context
from bloomery_worker.failures import DataError
from bloomery_worker.predictor import Images, Outputs, predictions
from bloomery_worker.samples import Samples
from bloomery_worker.training import thresholds
from bloomery_worker.training.figures import draw_answers
from bloomery_worker.training.imbalance import FOCAL, Treatment
from bloomery_worker.training.learner import Batch, Check
from bloomery_worker.training.losses import sigmoid_loss, softmax_loss
from bloomery_worker.training.room import room

BATCH = 32
_MEANS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
_PER_CLASS = ("precision", "recall", "f1")
_MOST_CLASSES = 50
"""Of more, no figures of each are told in every epoch: a job has 200 at most."""

Sample = tuple[Pixels, int]


class ClassifierLearner:
    """See `training.family.Trainee`.

    Args:
        context: of the job.
        architecture: as timm names it.
        network: of it.

    Raises:
        DataError: no image of a split has exactly one tag.
    """

    best_by = "val/balanced_accuracy"

    def __init__(self, context: Context, architecture: str, network: networks.Classifier) -> None:
        given, dataset = context.parameters, context.dataset
        self._architecture, self._context = architecture, context
        self.network: nn.Module = network
        self.layers: Mapping[str, int] = networks.layers(network)
        self.classes = context.job.classes
        self.side = int(given["imgsz"])
        space = room(context.job)
        self._train = Tagged(dataset, "train", self.classes, lambda image: reduced(image, 2 * self.side), room=space)
        self._val = Tagged(dataset, "val", self.classes, lambda image: resize_center_crop(image, self.side), room=space)
        for split, images in (("train", self._train), ("val", self._val)):
            if not len(images):
                message = f"no image in the split {split} has exactly one tag"
                raise DataError(message, hint="tag the images, and build the dataset version again")
            if images.untagged:
                context.log.warning("images of %s without exactly one tag, left out: %d", split, images.untagged)
        self._treatment = self._treated(context)
        self._activation = str(given["activation"])
        self._smoothing = float(given["label_smoothing"])
        self._gamma = float(given["focal_gamma"]) if self._treatment.kind == FOCAL else 0.0
        self._tuned = bool(given["tune_thresholds"])
        self._change = pipeline_of(given)
        self._scale, self._fliplr, self._flipud = (float(given[name]) for name in ("scale", "fliplr", "flipud"))
        # What no validation image has is not measured.
        there = [self.classes[index] for index in np.unique(self._val.classes)]
        told = there if len(self.classes) <= _MOST_CLASSES else ()
        each = [f"val/{mean}/{name}" for name in told for mean in _PER_CLASS]
        self.measures: Sequence[str] = ["val/loss", *(f"val/{mean}" for mean in _MEANS), *each]
        self.conditions: Mapping[str, object] = {
            "network": architecture, "images": dataset.index.content_hash, "classes": self.classes,
            "parameters": sorted(given.items()),
        }  # fmt: skip
        self._seen: NDArray[np.float32] = np.zeros((0, len(self.classes)), np.float32)
        self.data: Mapping[str, object] = {
            "images": dict(dataset.counts),
            "used": {"train": len(self._train), "val": len(self._val)},
            "left_out": {"images without exactly one tag": self._train.untagged + self._val.untagged},
        }

    def order(self, random: np.random.Generator) -> Sequence[int]:
        """The images in a random order: all once, or as the treatment of rare classes has it."""
        return [int(index) for index in self._treatment.order(self._train.classes, random)]

    def sample(self, index: int, random: np.random.Generator) -> Sample:
        """A part of an image uint8 [side, side, 3], perhaps mirrored, and its class."""
        image = cropped(self._train[index], self.side, self._scale, random)
        if random.random() < self._fliplr:
            image = image[:, ::-1]
        if random.random() < self._flipud:
            image = image[::-1]
        if self._change:
            image = self._change(np.ascontiguousarray(image), seed=int(random.integers(2**32))).image
        return image, int(self._train.classes[index])

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """`images` uint8 [B, side, side, 3], `classes` int64 [B]."""
        images, classes = zip(*samples, strict=True)
        return {"images": torch.from_numpy(np.stack(images)), "classes": torch.tensor(classes)}

    def losses(self, network: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """One, over the logits of all classes or of each by itself."""
        logits, classes = network(batch["images"]).float(), batch["classes"]
        weights = torch.from_numpy(self._treatment.weights).to(logits.device)
        if self._activation == networks.SIGMOID:
            return {"class_loss": sigmoid_loss(logits, classes, weights, gamma=self._gamma)}
        loss = softmax_loss(logits, classes, weights, gamma=self._gamma, smoothing=self._smoothing)
        return {"class_loss": loss}

    def measure(self, network: nn.Module, check: Check) -> Mapping[str, float]:
        """What our own evaluation measures of the same images, and the loss."""
        truth = self._val.classes
        probabilities = self._seen = self._probabilities(network, check)
        found = classification_metrics(truth, probabilities, num_classes=len(self.classes))
        right = probabilities[np.arange(len(truth)), truth]
        measured = {"val/loss": float(-np.log(np.maximum(right, 1e-12)).mean())}
        measured |= {f"val/{mean}": float(getattr(found, mean)) for mean in _MEANS}
        for one in found.per_class:
            measured |= {f"val/{mean}/{self.classes[one.index]}": getattr(one, mean) for mean in _PER_CLASS}
        return {name: measured[name] for name in self.measures}

    def draw(self, board: Board, epoch: int) -> None:
        """What the last `measure` has seen: what is taken for what, and precision against recall."""
        draw_answers(board, self._val.classes, self._seen, self.classes, epoch=epoch)

    def samples(self, count: int) -> Samples:
        """Validation images to show."""
        size = (self.side, self.side)
        return Samples(self._context.dataset, self.classes, PROBABILITIES, size, resize=CENTER_CROP, count=count)

    def predict(self, network: nn.Module, images: Images) -> Outputs:
        """Probabilities float32 [B, C] of uint8 RGB [B, side, side, 3]."""
        whole = networks.Probabilities(network, self._activation, torch.zeros(len(self.classes)))
        device = next(network.parameters()).device
        with torch.no_grad():
            return (whole.to(device)(torch.from_numpy(images).to(device)).float().cpu().numpy(),)

    def write(self, weights: Mapping[str, Tensor], target: Path) -> None:
        """Writes the file of a model whose borders between classes are where they were learnt."""
        self._write(weights, np.zeros(len(self.classes)), target)

    def publish(self, weights: Mapping[str, Tensor], target: Path) -> Mapping[str, object]:
        """Writes the file of the model, whose borders between classes are tuned where that was wanted."""
        self.network.load_state_dict(weights)
        bias = self._borders() if self._tuned else np.zeros(len(self.classes))
        self._write(weights, bias, target)
        named = dict(zip(self.classes, bias.tolist(), strict=True))
        treated = {"kind": self._treatment.kind, "why": self._treatment.why}
        return {"network": self._architecture, "imbalance": treated, **({"thresholds": named} if self._tuned else {})}

    def _write(self, weights: Mapping[str, Tensor], bias: NDArray[np.float64], target: Path) -> None:
        classes = tuple(self.classes)
        about = published.About(
            self._architecture, classes, self.side, CENTER_CROP, self._activation, tuple(bias.tolist())
        )
        published.write(target, weights, about)

    def _treated(self, context: Context) -> Treatment:
        counts = np.bincount(self._train.classes, minlength=len(self.classes))
        treatment = Treatment.of(context.parameters, counts, self.classes)
        context.log.info("imbalance: %s, because %s", treatment.kind, treatment.why)
        return treatment

    def _borders(self) -> NDArray[np.float64]:
        """What is added to the logits, from the validation images."""
        probabilities = self._probabilities(self.network.eval(), self._context.check_stop).astype(np.float64)
        sure = np.clip(probabilities, 1e-9, 1 - 1e-9)
        if self._activation == networks.SIGMOID:
            return thresholds.one_versus_rest(np.log(sure / (1 - sure)), self._val.classes)
        return thresholds.balanced(np.log(sure), self._val.classes, self._context.check_stop)

    def _probabilities(self, network: nn.Module, check: Check) -> NDArray[np.float32]:
        def fitted() -> Iterator[Pixels]:
            for index in range(len(self._val)):
                check()
                yield self._val[index]

        def predict(images: Images) -> Outputs:
            return self.predict(network, images)

        return np.stack([outputs[0] for outputs in predictions(predict, fitted(), batch=BATCH)])
