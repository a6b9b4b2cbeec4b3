"""A checkpoint as a Triton model directory with ONNX inside, and the proof that it gives the same answers."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bloomery.training.v1 import VariantFacts
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.evaluate import golden_rows
from bloomery_worker.export import (
    VARIANT_ROLE,
    Limits,
    ModelSpec,
    Parity,
    Tensor,
    generated_images,
    largest_errors,
    measure_latency,
    write_model_directory,
)
from bloomery_worker.failures import DataError, ExportError
from bloomery_worker.messages import FileNote
from bloomery_worker.predictor import Images, OnnxPredictor, Remembering

PACKAGES = ("ultralytics", "torch", "onnx", "onnxruntime", "numpy", "bloomery-worker", "bloomery-recipe-yolo")
IMAGES = 32
"""On so many it is compared with the original, where nobody says how many."""

Say = Callable[[str, float], None]
"""Is told what goes on and how much of it is done, 0 to 1; may raise to end the work."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What was made: the files to publish, what is said of it, and the versions of the libraries that made it."""

    files: tuple[FileNote, ...]
    facts: VariantFacts
    versions: Mapping[str, str]


def failed_onnx(why: str) -> Variant:
    """That there is none, and why."""
    facts = _onnx()
    facts.failure = why
    return Variant((), facts, {})


def make_onnx(context: Context, flavour: Flavour, original: TrainedModel, *, images: int, say: Say) -> Variant:
    """Exports, compares on up to `images` real images, measures the latency, and writes the directory.

    Args:
        context: of the job.
        flavour: of the model's task.
        original: on the CPU.
        images: real ones of the job's dataset version, or generated ones where it has none.
        say: is told how far it is.

    Raises:
        ExportError: the export does not give the same answers.
        DataError: the dataset version has no image to compare on.
    """
    root = context.work_dir / "variant"
    say("exporting", 0.1)
    onnx = _exported(flavour, original, root)
    threads = machine.threads(context.job.cpus)
    exported = OnnxPredictor(onnx, threads=threads)
    say("comparing", 0.4)
    measure = _on_dataset if context.job.manifest else _on_generated
    parity, sample = measure(context, flavour, original, exported, images)
    if not parity.passed:
        raise ExportError(f"the export does not give the same answers: {parity}", hint="report it")
    say("measuring", 0.8)
    facts = _onnx()
    facts.parity.CopyFrom(parity.facts())
    facts.latency.CopyFrom(measure_latency(exported, sample, threads=threads))
    versions = machine.versions(PACKAGES)
    files = write_model_directory(root, _spec(context, flavour, original, exported, sample), facts, versions)
    return Variant(files, facts, versions)


def _onnx() -> VariantFacts:
    return VariantFacts(id="onnx-fp32", format="onnx", precision="fp32", device="cpu", role_prefix=VARIANT_ROLE)


def _exported(flavour: Flavour, original: TrainedModel, root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    onnx = root / "1" / "model.onnx"
    onnx.parent.mkdir(parents=True)
    original.export(onnx, (original.side, original.side), outputs=flavour.outputs)
    return onnx


def _on_dataset(
    context: Context, flavour: Flavour, original: TrainedModel, variant: OnnxPredictor, count: int
) -> tuple[Parity, Images]:
    """How far the variant is off, and one of the images."""
    rows = golden_rows(context.dataset, count)
    if not rows:
        raise DataError("the dataset version has no validation or test images to compare on", hint="build one that has")
    size = original.side, original.side
    evaluator = flavour.evaluator(context.dataset, size, original.classes, decoder=flavour.decoder)
    images = np.stack([evaluator.fit(context.dataset.image(row)) for row in rows])
    models = Remembering(original), Remembering(variant)
    geometry, score = largest_errors(*models, images, geometry_rows=flavour.box_rows)
    before, after = (evaluator.evaluate(model, rows, name="golden").means[evaluator.headline] for model in models)
    return Parity(len(rows), geometry, score, before, after, Limits()), images[0]


def _on_generated(
    context: Context, flavour: Flavour, original: TrainedModel, variant: OnnxPredictor, count: int
) -> tuple[Parity, Images]:
    """For a model that was imported: raw outputs can be compared on any images, metrics only on labelled ones."""
    context.log.warning("There is no dataset version: the export is compared on %d generated images.", count)
    images = generated_images(count, (original.side, original.side))
    geometry, score = largest_errors(original, variant, images, geometry_rows=flavour.box_rows)
    return Parity(count, geometry, score, 0.0, 0.0, Limits(), generated=True), images[0]


def _spec(
    context: Context, flavour: Flavour, original: TrainedModel, variant: OnnxPredictor, sample: Images
) -> ModelSpec:
    outputs = zip(variant.output_names, variant(sample[None]), strict=True)
    return ModelSpec(
        task=context.job.task,
        classes=original.classes,
        size=(original.side, original.side),
        resize=flavour.resize,
        outputs=tuple(Tensor(name, output.shape[1:]) for name, output in outputs),
    )
