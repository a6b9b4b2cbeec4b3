"""EVALUATE: how good a model is on a dataset version, by the same evaluation that measures every training."""

import time
from collections.abc import Sequence

from bloomery_vision.forms import CPU
from bloomery_worker import machine
from bloomery_worker.applying import Applied, lineage, multi_label, paced
from bloomery_worker.context import Context
from bloomery_worker.evaluation import Evaluation
from bloomery_worker.failures import DataError, some
from bloomery_worker.measuring import measure
from bloomery_worker.messages import ProgressNote
from bloomery_worker.published import publish
from bloomery_worker.recipe import Result
from bloomery_worker.splits import count_of, rows_of, split_of


def evaluate(context: Context, model: Applied) -> Result:
    """Measures a model on the split that the job names.

    Classes are matched by name. What is on the images of classes that the model lacks counts as missed.

    Raises:
        DataError: model and dataset version share no class, or no image of the split can be measured.
    """
    started = time.monotonic()
    missing = _missing(context, model.classes)
    evaluation = _measured(context, model, missing)
    details = {
        **lineage(context, model),
        "classes": [*model.classes, *missing],
        "missing_classes": missing,
        "split": evaluation.name,
        "multi_label": multi_label(context),
        "images": evaluation.images,
        "duration_seconds": time.monotonic() - started,
        **(_benchmark(context, model) if context.parameters.get("benchmark") else {}),
    }
    return Result(
        files=publish(context, [evaluation], context.work_dir),
        metrics=evaluation.values(),
        details=details,
        versions=machine.versions(model.packages),
    )


def _benchmark(context: Context, model: Applied) -> dict[str, object]:
    """How fast the model is, what memory it takes, and how large it is, in a process that runs nothing else."""
    context.progress(ProgressNote(phase="measuring", fraction=1.0, device=model.device))
    threads = machine.threads(context.job.cpus)
    # A processor is told by its name.
    device = "" if model.device == CPU else model.device
    latency = measure(model.runtime, model.file, model.size, threads=threads, check=context.check_stop, device=device)
    # As plain numbers: the JSON of a message has its large ones as texts.
    said = {field.name: value for field, value in latency.ListFields()}
    beside = model.file.parent.iterdir() if context.job.variant else [model.file]
    return {"latency": said, "size_bytes": sum(one.stat().st_size for one in beside)}


def _measured(context: Context, model: Applied, missing: Sequence[str]) -> Evaluation:
    evaluator = model.evaluator(
        context.dataset,
        model.size,
        model.classes,
        decoder=model.decoder,
        check=paced(context, "evaluating", count_of(context), model.device),
        multi_label=multi_label(context),
        missing=missing,
    )
    evaluation = evaluator.evaluate(model.predict, rows_of(context), name=split_of(context), record=True)
    _check_counted(context, evaluation)
    return evaluation


def _check_counted(context: Context, evaluation: Evaluation) -> None:
    """Says how many images did not count. Raises DataError where none did."""
    if not evaluation.images:
        message = f"no image in the split {evaluation.name} has exactly one tag"
        raise DataError(message, hint="tag the images, and build the dataset version again")
    if left := count_of(context) - evaluation.images:
        context.log.warning("images without exactly one tag, which do not count: %d", left)


def _missing(context: Context, known: Sequence[str]) -> list[str]:
    """The dataset version's classes that the model lacks. Raises DataError where it lacks all."""
    wanted = context.dataset.classes
    missing = [name for name in wanted if name not in known]
    if len(missing) == len(wanted):
        message = f"model and dataset version share no class: {some(known)} here, {some(wanted)} there"
        raise DataError(message, hint="choose another dataset version, or map its classes to the model's names")
    if missing:
        context.log.warning("The model lacks the classes %s: their objects count as missed.", some(missing))
    if unseen := [name for name in known if name not in wanted]:
        context.log.info("the dataset version lacks the model's classes %s", some(unseen))
    return missing
