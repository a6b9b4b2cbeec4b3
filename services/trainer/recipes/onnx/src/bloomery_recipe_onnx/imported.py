"""A model that was imported before, as jobs find it: all that has to be known of it is in its metadata."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

import onnx
from google.protobuf.message import DecodeError

from bloomery_recipe_onnx.stated import OWN
from bloomery_vision.forms import ONNX_RUNTIME
from bloomery_worker import machine
from bloomery_worker.applying import Applied
from bloomery_worker.classifying import ClassificationEvaluator
from bloomery_worker.context import Context
from bloomery_worker.evaluate import DetectionEvaluator, MakeEvaluator
from bloomery_worker.failures import ConfigError
from bloomery_worker.formed import applied_form
from bloomery_worker.predictor import Predictor
from bloomery_worker.runners import OnnxRunner
from bloomery_worker.segmentation import SegmentationEvaluator
from bloomery_worker.variants import Original

PACKAGES = ("onnx", "onnxruntime", "numpy", "bloomery-worker", "bloomery-recipe-onnx")
"""Whose versions the results name."""
_EVALUATORS: Mapping[str, MakeEvaluator] = {
    "detect": DetectionEvaluator,
    "segment": SegmentationEvaluator,
    "classify": ClassificationEvaluator,
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What has to be known to use a model.

    Attributes:
        task: "detect", "segment" or "classify".
        classes: names in the order of their numbers.
        height: of its input in pixels.
        width: of its input in pixels.
        resize: how an image is fitted to it.
        decoder: how its outputs are read.
    """

    task: str
    classes: tuple[str, ...]
    height: int
    width: int
    resize: str
    decoder: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """What an imported file says. Raises ConfigError where it is none."""
        try:
            known = {one.key: one.value for one in onnx.load(path, load_external_data=False).metadata_props}
            content = json.loads(known[OWN])
            return cls(**{**content, "classes": tuple(content["classes"])})
        except (DecodeError, KeyError, TypeError, ValueError) as problem:
            hint = "name a model version that was imported by this recipe"
            raise ConfigError("the model's file does not say how it is used", hint=hint) from problem

    def document(self) -> dict[str, object]:
        """As plain JSON values."""
        return asdict(self)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.height, self.width


def named(context: Context) -> Applied:
    """The model that the job works on, or the form of it that it names, as jobs that apply it see it.

    Raises:
        ConfigError: the job names none, one of another task, or a form that cannot be run here.
        DataError: the files of the form are none.
    """
    evaluator = _EVALUATORS[context.job.task]
    if context.job.variant:
        return applied_form(context, evaluator)
    path, meaning = _named(context)
    return Applied(
        predict=OnnxRunner(path, threads=machine.threads(context.job.cpus)),
        evaluator=evaluator,
        classes=meaning.classes,
        size=meaning.size,
        resize=meaning.resize,
        decoder=meaning.decoder,
        packages=PACKAGES,
        runtime=ONNX_RUNTIME,
        file=path,
        device=machine.processor(),
    )


def named_original(context: Context) -> Original:
    """The same as forms are made of it. Raises ConfigError."""
    path, meaning = _named(context)
    runner = OnnxRunner(path, threads=machine.threads(context.job.cpus))

    def write_onnx(target: Path) -> None:
        shutil.copyfile(path, target)

    return original(meaning, runner, write_onnx)


def original(meaning: Meaning, predict: Predictor, write_onnx: Callable[[Path], None]) -> Original:
    """A model as forms are made of it, which `predict` runs and `write_onnx` writes."""
    evaluator = partial(_EVALUATORS[meaning.task], size=meaning.size, classes=meaning.classes, decoder=meaning.decoder)
    return Original(
        predict=predict,
        write_onnx=write_onnx,
        evaluator=evaluator,
        classes=meaning.classes,
        size=meaning.size,
        resize=meaning.resize,
        decoder=meaning.decoder,
        packages=PACKAGES,
    )


def _named(context: Context) -> tuple[Path, Meaning]:
    if not context.job.base_file:
        raise ConfigError("the job names no model to work on", hint="name a model version")
    path = Path(context.job.base_file)
    meaning = Meaning.of(path)
    if meaning.task != context.job.task:
        hint = "choose the recipe of the model's task"
        raise ConfigError(f"the model is one to {meaning.task}, not to {context.job.task}", hint=hint)
    return path, meaning
