"""What differs between detection, segmentation and classification; all else is shared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bloomery_recipe_yolo.augmenting import OnPictures
from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_recipe_yolo.kept import Kept, Select, first_ones, shapes_of_labels, spread_ones, tags_of_folders
from bloomery_recipe_yolo.library import ClassificationTrainer, DetectionTrainer, SegmentationTrainer
from bloomery_vision.decoders import CENTER_CROP, LETTERBOX, PROBABILITIES, YOLO
from bloomery_vision.formats import YoloTask
from bloomery_worker.classifying import ClassificationEvaluator
from bloomery_worker.context import Context
from bloomery_worker.evaluate import DetectionEvaluator, MakeEvaluator
from bloomery_worker.layout import Laid, class_folders, yolo_folder
from bloomery_worker.segmentation import SegmentationEvaluator


class DetectTrainer(ExactTrainer, DetectionTrainer):
    """Trains detectors."""


class SegmentTrainer(ExactTrainer, SegmentationTrainer):
    """Trains detectors with masks."""


class ClassifyTrainer(ExactTrainer, ClassificationTrainer):
    """Trains classifiers."""

    def build_dataset(self, img_path: str, mode: str = "train", batch: object = None) -> Any:
        """The images of a split; those to train on get the policy's changes after they are cropped."""
        dataset = super().build_dataset(img_path, mode, batch)
        stored = getattr(self.args, "augmentations", None)
        if stored and mode == "train":
            dataset.torch_transforms.transforms.insert(1, OnPictures(stored))
        return dataset


@dataclass(frozen=True, slots=True)
class Flavour:
    """One task.

    Attributes:
        trainer: trains it.
        lay_out: puts the dataset where the trainer looks.
        kept: what the trainer's loaders have kept of it.
        select: which training images they take for a fraction.
        evaluator: measures it.
        outputs: names of the exported model's outputs.
        box_rows: how many rows of the first output are coordinates.
        resize: how an image is fitted to the input.
        decoder: how the outputs are read.
    """

    trainer: type[ExactTrainer]
    lay_out: Callable[[Context], Laid]
    kept: Kept
    select: Select
    evaluator: MakeEvaluator
    outputs: tuple[str, ...]
    box_rows: int
    resize: str
    decoder: str


def _yolo_folder(context: Context) -> Laid:
    return yolo_folder(context.dataset, context.work_dir / "data", task=YoloTask(context.job.task))


def _class_folders(context: Context) -> Laid:
    return class_folders(context.dataset, context.work_dir / "data")


_LABELS = (shapes_of_labels, first_ones)
_FOLDERS = (tags_of_folders, spread_ones)

FLAVOURS: Mapping[str, Flavour] = {
    "detect": Flavour(DetectTrainer, _yolo_folder, *_LABELS, DetectionEvaluator, ("output0",), 4, LETTERBOX, YOLO),
    "segment": Flavour(
        SegmentTrainer, _yolo_folder, *_LABELS, SegmentationEvaluator, ("output0", "output1"), 4, LETTERBOX, YOLO
    ),
    "classify": Flavour(
        ClassifyTrainer, _class_folders, *_FOLDERS, ClassificationEvaluator, ("output0",), 0, CENTER_CROP, PROBABILITIES
    ),
}
"""By task."""
