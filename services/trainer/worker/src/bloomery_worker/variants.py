"""A model in one of its forms as a Triton model directory, with the proof of what it answers: the same for all recipes.

A recipe gives the model itself and a way to write it as ONNX in fp32; all else is made of that.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from bloomery.training.v1 import VariantFacts
from bloomery_vision.bootstrap import paired
from bloomery_vision.forms import FORMS, GPU, OPENVINO, TENSORRT, Form
from bloomery_worker import machine
from bloomery_worker.builders import BUILDERS, Calibration
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.dataset import Dataset
from bloomery_worker.engines import check_available
from bloomery_worker.evaluate import BATCH, Check, Evaluator, Size, golden_rows
from bloomery_worker.evaluation import Evaluation
from bloomery_worker.export import VARIANT_ROLE, ModelSpec, Tensor, write_model_directory
from bloomery_worker.failures import ConfigError, DataError, ExportError, WorkError
from bloomery_worker.measuring import measure
from bloomery_worker.messages import FileNote
from bloomery_worker.parity import Parity, generated_images, largest_errors
from bloomery_worker.predictor import Images, Predictor, Remembering
from bloomery_worker.runners import RUNNERS, Runner

Say = Callable[[str, float], None]
"""Is told what goes on and how much of it is done, 0 to 1."""
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt-cu13", "numpy", "bloomery-worker")
_LONGEST = 300
GENERATED = 32
"""Most images that are made where there are no real ones."""


class EvaluatorOn(Protocol):
    """Makes what measures models of one task and its classes."""

    def __call__(self, dataset: Dataset, *, check: Check = ...) -> Evaluator:
        """The evaluator on a dataset version."""
        ...


@dataclass(frozen=True, slots=True)
class Original:
    """A model as its recipe gives it.

    Attributes:
        predict: the model itself, on the CPU.
        write_onnx: writes it as ONNX: uint8 [B, H, W, 3] `images` in, raw fp32 outputs, whose first axis is the batch.
        evaluator: measures models of its task and classes on a dataset version.
        classes: names in the order of their numbers.
        size: of its input.
        resize: how an image is fitted to it.
        decoder: how its outputs are read.
        packages: that made it, whose versions are told.
    """

    predict: Predictor
    write_onnx: Callable[[Path], None]
    evaluator: EvaluatorOn
    classes: tuple[str, ...]
    size: Size
    resize: str
    decoder: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made.

    Attributes:
        form: of the model.
        images: on up to so many it is compared with the original.
        calibration_images: from up to so many of the training split ranges are taken, where the form needs some.
        seed: of their choice.
    """

    form: Form
    images: int = 100
    calibration_images: int = 200
    seed: int = 0

    @classmethod
    def of(cls, context: Context) -> Self:
        """What an OPTIMIZE job asks for.

        Raises:
            ConfigError: there is no such form, or it cannot be made here.
            DataError: it can only be judged on a dataset version, and the job has none.
        """
        given = context.parameters
        form = FORMS.get(f"{given['format']}-{given['precision']}")
        if form is None or form.id not in BUILDERS:
            needs = form.needs if form else f"the forms are {', '.join(BUILDERS)}"
            raise ConfigError(f"{given['format']}-{given['precision']} cannot be made: {needs}", hint="choose another")
        if form.runtime == OPENVINO and not find_spec(OPENVINO):
            message = f"{form.id} is made by the package openvino, which this worker lacks"
            raise ConfigError(message, hint="install bloomery-worker[openvino], or choose another form")
        if form.runtime == TENSORRT:
            check_available(form.id)
        if not form.is_exact and not context.job.manifest:
            message = f"{form.id} can only be judged by a metric, and the model has no dataset version to measure it on"
            raise DataError(message, hint="name one that has images to train on and others to measure on")
        wanted = {name: int(given[name]) for name in ("images", "calibration_images", "seed") if name in given}
        return cls(form, **wanted)


@dataclass(frozen=True, slots=True)
class Variant:
    """What was made: the files to publish, what is said of it, and the versions of the libraries that made it."""

    files: tuple[FileNote, ...]
    facts: VariantFacts
    versions: Mapping[str, str]


def failed_variant(form: Form, why: str) -> Variant:
    """That there is none, and why."""
    facts = _facts(form)
    facts.failure = why
    return Variant((), facts, {})


def make_variant(context: Context, plan: Plan, original: Original, *, say: Say, check: Check) -> Variant:
    """Makes the form, compares it with the original on real images, measures it, and writes the directory.

    Where the job has no dataset version, raw outputs are compared on generated images, and there is no metric.

    Args:
        context: of the job.
        plan: what to make.
        original: of what.
        say: is told how far it is.
        check: is called often; may raise to end the work.

    Raises:
        ExportError: it does not answer as the original, or not well enough.
        DataError: the dataset version has no image to compare on, or none to calibrate with.
    """
    form, root = plan.form, context.work_dir / "variant"
    if not form.is_exact:
        _check_judged(context, plan, original)
    say("exporting", 0.1)
    with _of_this_graph(form, root):
        _build(context, plan, original, root / "1", check)
    threads, file = machine.threads(context.job.cpus), root / "1" / form.file
    with _of_this_graph(form, root):
        made = RUNNERS[form.runtime](file, threads=threads)
    check()
    say("comparing", 0.4)
    compare = _on_dataset if context.job.manifest else _on_generated
    parity = compare(context, plan, original, made, check)
    parity.check()
    check()
    say("measuring", 0.8)
    facts = _facts(form)
    facts.parity.CopyFrom(parity.facts())
    device = machine.device_name() if form.device == GPU else ""
    facts.latency.CopyFrom(measure(form.runtime, file, original.size, threads=threads, check=check, device=device))
    versions = machine.versions((*PACKAGES, *original.packages))
    spec = _spec(context, form, original, made)
    return Variant(write_model_directory(root, spec, facts, versions), facts, versions)


def _facts(form: Form) -> VariantFacts:
    return VariantFacts(
        id=form.id, format=form.format, precision=form.precision, device=form.device, role_prefix=VARIANT_ROLE
    )


def _check_judged(context: Context, plan: Plan, original: Original) -> None:
    """Raises DataError where a metric would be zero whatever the form answers."""
    rows = golden_rows(context.dataset, plan.images)
    if not any(shape.label in original.classes for row in rows for shape in row.shapes):
        message = f"{plan.form.id} can only be judged by a metric, and no image to compare on shows the model's classes"
        raise DataError(message, hint="name a dataset version with objects of these classes in val or test")


@contextmanager
def _of_this_graph(form: Form, root: Path) -> Iterator[None]:
    """Raises ExportError where the libraries that make and run forms do not take a graph."""
    try:
        yield
    except (WorkError, StopRequestedError, MemoryError, OSError):
        raise
    except Exception as problem:  # they raise all kinds
        line = str(problem).replace(f"{root}/", "").strip().partition("\n")[0][:_LONGEST]
        hint = "keep another form, or export the model for a newer opset"
        raise ExportError(f"{form.id} cannot be made of this graph: {line}", hint=hint) from problem


def _build(context: Context, plan: Plan, original: Original, folder: Path, check: Check) -> None:
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    fp32 = context.work_dir / "fp32.onnx"
    original.write_onnx(fp32)
    check()
    calibration = Calibration(
        calibration_images(context, plan, original, check),
        machine.threads(context.job.cpus),
        Path(context.job.cache_dir),
    )
    BUILDERS[plan.form.id](fp32, folder / plan.form.file, calibration)
    fp32.unlink(missing_ok=True)


def calibration_images(context: Context, plan: Plan, original: Original, check: Check) -> Iterator[Images]:
    """Images of the training split as the model takes them, chosen by the seed. Raises DataError where it has none."""
    dataset = context.dataset
    count = dataset.counts["train"]
    if not count:
        raise DataError("the dataset version has no training images to calibrate with", hint="build one that has")
    # The seed decides which, whatever the machine.
    chosen = set(random.Random(plan.seed).sample(range(count), min(count, plan.calibration_images)))  # noqa: S311
    fit = original.evaluator(dataset).fit
    for number, row in enumerate(dataset.rows("train")):
        if number in chosen:
            check()
            yield fit(dataset.image(row))


def _on_dataset(context: Context, plan: Plan, original: Original, made: Predictor, check: Check) -> Parity:
    """How far the form is off on images that training has not seen."""
    dataset = context.dataset
    rows = golden_rows(dataset, plan.images)
    if not rows:
        raise DataError("the dataset version has no validation or test images to compare on", hint="build one that has")
    evaluator = original.evaluator(dataset, check=check)
    fitted = (evaluator.fit(dataset.image(row)) for row in rows)
    models = Remembering(original.predict), Remembering(made)
    geometry, score = largest_errors(*models, _batches(fitted, check), decoder=original.decoder)
    before, after = (evaluator.evaluate(model, rows, name="golden", record=True) for model in models)
    metrics = {name: (before.means[name], after.means[name]) for name in evaluator.judged}
    lost = any(one - other > plan.form.limits.loss for one, other in metrics.values())
    losses = _losses(before, after) if lost else {}
    return Parity(len(rows), geometry, score, metrics, plan.form.limits, losses)


def _losses(before: Evaluation, after: Evaluation) -> dict[str, tuple[float, float]]:
    """From what to what each metric may be lower than the original's, by a paired bootstrap over the images."""
    assert before.records is not None
    assert after.records is not None
    return {one.metric: (-one.upper, -one.lower) for one in paired(before.records, after.records).differences}


def _on_generated(context: Context, plan: Plan, original: Original, made: Predictor, check: Check) -> Parity:
    """For a model that was imported: raw outputs can be compared on any images, metrics only on labelled ones."""
    count = min(plan.images, GENERATED)
    context.log.warning("There is no dataset version: the export is compared on %d generated images.", count)
    images = iter(generated_images(count, original.size))
    errors = largest_errors(original.predict, made, _batches(images, check), decoder=original.decoder)
    return Parity(count, *errors, {}, plan.form.limits)


def _batches(images: Iterator[Images], check: Check) -> Iterator[Images]:
    while batch := list(islice(images, BATCH)):
        check()
        yield np.stack(batch)


def _spec(context: Context, form: Form, original: Original, made: Runner) -> ModelSpec:
    outputs = zip(made.output_names, made(generated_images(1, original.size)), strict=True)
    return ModelSpec(
        task=context.job.task,
        classes=original.classes,
        size=original.size,
        resize=original.resize,
        decoder=original.decoder,
        runtime=form.runtime,
        outputs=tuple(Tensor(name, output.shape[1:]) for name, output in outputs),
    )
