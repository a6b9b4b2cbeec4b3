"""A published model of a family as the jobs see it that work on one."""

from functools import partial
from pathlib import Path

from bloomery_worker.applying import Applied
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.formed import applied_form
from bloomery_worker.training import devices
from bloomery_worker.training.family import Family, Model
from bloomery_worker.variants import Original


def named_model(context: Context, family: Family, *, device: str) -> Model:
    """The model that the job works on.

    Raises:
        ConfigError: the job names none, or one that the recipe does not know.
    """
    if not context.job.base_file:
        raise ConfigError("the job names no model to work on", hint="name a model version")
    model = family.open(Path(context.job.base_file), device=device)
    if model.task != context.job.task:
        hint = "choose the recipe of the model's task"
        raise ConfigError(f"the model is one to {model.task}, not to {context.job.task}", hint=hint)
    return model


def applied(context: Context, family: Family) -> Applied:
    """The same, or the form of it that the job names, as jobs that apply it see it. Raises ConfigError, DataError."""
    if context.job.variant:
        return applied_form(context, family.evaluator)
    device = devices.usable(context)
    model = named_model(context, family, device=str(device))
    return Applied(
        predict=model,
        evaluator=family.evaluator,
        classes=model.classes,
        size=model.size,
        resize=model.resize,
        decoder=model.decoder,
        packages=(*family.packages, *PACKAGES),
        runtime=family.opener,
        file=Path(context.job.base_file),
        device=devices.name_of(device),
    )


def original(family: Family, model: Model) -> Original:
    """A model on the CPU as forms are made of it."""
    return Original(
        predict=model,
        write_onnx=model.write_onnx,
        evaluator=partial(family.evaluator, size=model.size, classes=model.classes, decoder=model.decoder),
        classes=model.classes,
        size=model.size,
        resize=model.resize,
        decoder=model.decoder,
        packages=family.packages,
    )


PACKAGES = ("torch", "numpy", "bloomery-worker")
"""Of the worker, whose versions the results name."""
