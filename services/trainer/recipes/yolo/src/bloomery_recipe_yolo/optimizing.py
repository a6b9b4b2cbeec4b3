"""OPTIMIZE: a checkpoint as a Triton model directory with ONNX inside, and the proof that it gives the same answers."""

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bloomery_recipe_yolo.applying import named_model
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_worker import machine
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.evaluate import golden_rows
from bloomery_worker.export import (
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
from bloomery_worker.messages import ProgressNote
from bloomery_worker.predictor import Images, OnnxPredictor
from bloomery_worker.recipe import Result

PACKAGES = ("ultralytics", "torch", "onnx", "onnxruntime", "numpy", "bloomery-worker", "bloomery-recipe-yolo")


def optimize(context: Context, flavour: Flavour) -> Result:
    """Exports, compares on real images, measures the latency, and collects the directory.

    Raises:
        ExportError: the export does not give the same answers.
    """
    original = named_model(context, device="cpu")
    root = context.work_dir / "variant"
    onnx = _exported(context, flavour, original, root)
    threads = machine.threads(context.job.cpus)
    variant = OnnxPredictor(onnx, threads=threads)
    parity, sample = _compared(context, flavour, original, variant)
    _say(context, "measuring", 0.8)
    facts = {
        "format": "onnx",
        "precision": "fp32",
        "device": "cpu",
        "parity": parity.document(),
        "latency": asdict(measure_latency(variant, sample, threads=threads)),
    }
    spec = _spec(context, flavour, original, variant, sample)
    versions = machine.versions(PACKAGES)
    files = write_model_directory(root, spec, {**facts, "versions": versions})
    details = {
        **facts,
        "task": spec.task,
        "classes": list(spec.classes),
        "input": {"height": spec.size[0], "width": spec.size[1], "resize": spec.resize},
    }
    metrics = {"parity/original": parity.original_metric, "parity/variant": parity.variant_metric}
    return Result(files=files, metrics=metrics, details=details, versions=versions)


def _exported(context: Context, flavour: Flavour, original: TrainedModel, root: Path) -> Path:
    _say(context, "exporting", 0.1)
    shutil.rmtree(root, ignore_errors=True)
    onnx = root / "1" / "model.onnx"
    onnx.parent.mkdir(parents=True)
    original.export(onnx, (original.side, original.side), outputs=flavour.outputs)
    return onnx


def _compared(
    context: Context, flavour: Flavour, original: TrainedModel, variant: OnnxPredictor
) -> tuple[Parity, Images]:
    """How far the variant is off, and one of the images."""
    _say(context, "comparing", 0.4)
    count = int(context.parameters["images"])
    measure = _on_generated if not context.job.manifest else _on_dataset
    parity, sample = measure(context, flavour, original, variant, count)
    if not parity.passed:
        raise ExportError(f"the export does not give the same answers: {parity.document()}", hint="report it")
    return parity, sample


def _on_dataset(
    context: Context, flavour: Flavour, original: TrainedModel, variant: OnnxPredictor, count: int
) -> tuple[Parity, Images]:
    rows = golden_rows(context.dataset, count)
    if not rows:
        raise DataError("the dataset version has no validation or test images to compare on", hint="build one that has")
    size = (original.side, original.side)
    evaluator = flavour.evaluator(context.dataset, size, original.classes, check=lambda: _check(context))
    images = np.stack([evaluator.fit(context.dataset.image(row)) for row in rows])
    geometry, score = largest_errors(original, variant, images, geometry_rows=flavour.box_rows)
    before, after = (
        evaluator.evaluate(model, rows, name="golden").means[evaluator.headline] for model in (original, variant)
    )
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


def _say(context: Context, phase: str, fraction: float) -> None:
    _check(context)
    context.progress(ProgressNote(phase=phase, fraction=fraction, device="cpu"))


def _check(context: Context) -> None:
    if context.should_stop():
        raise StopRequestedError(0)
