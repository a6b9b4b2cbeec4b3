"""The model that a job names."""

from pathlib import Path

from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import TrainedModel, open_checkpoint
from bloomery_worker import machine
from bloomery_worker.applying import Applied
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.formed import applied_form

PACKAGES = ("ultralytics", "torch", "numpy", "bloomery-worker", "bloomery-recipe-yolo")
"""Whose versions the results name."""


def named_model(context: Context, *, device: str) -> TrainedModel:
    """The model that the job works on.

    Raises:
        ConfigError: the job names none, or one of another task.
    """
    if not context.job.base_file:
        raise ConfigError("the job names no model to work on", hint="name a model version")
    model = TrainedModel(Path(context.job.base_file), device=device)
    if model.task != context.job.task:
        hint = "choose the recipe of the model's task"
        raise ConfigError(f"the model is one to {model.task}, not to {context.job.task}", hint=hint)
    return model


def applied(context: Context, flavour: Flavour) -> Applied:
    """The same, or the form of it that the job names, as jobs that apply it see it.

    Raises:
        ConfigError: the job names none, one of another task, or a form that cannot be run here.
        DataError: the files of the form are none.
    """
    if context.job.variant:
        return applied_form(context, flavour.evaluator)
    model = named_model(context, device=machine.device())
    return Applied(
        predict=model,
        evaluator=flavour.evaluator,
        classes=model.classes,
        size=(model.side, model.side),
        resize=flavour.resize,
        decoder=flavour.decoder,
        packages=PACKAGES,
        runtime=f"{open_checkpoint.__module__}:{open_checkpoint.__name__}",
        file=Path(context.job.base_file),
        device=machine.device_name(),
    )
