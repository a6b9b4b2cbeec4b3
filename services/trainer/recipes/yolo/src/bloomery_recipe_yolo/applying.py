"""What the jobs that apply a model to many images share: the model that they name, and word of how far they are."""

import time
from collections.abc import Callable
from pathlib import Path

from bloomery_recipe_yolo.model import TrainedModel
from bloomery_worker import machine
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.evaluate import Check
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import ProgressNote

PACKAGES = ("ultralytics", "torch", "numpy", "bloomery-worker", "bloomery-recipe-yolo")
"""Whose versions the results name."""

INTERVAL = 1.0
"""Seconds between two words of progress."""


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


def multi_label(context: Context) -> bool:
    """Whether one anchor may answer for several classes. Classifiers have no such parameter, nor have older jobs."""
    return bool(context.parameters.get("multi_label", False))


def paced(context: Context, phase: str, total: int, *, clock: Callable[[], float] = time.monotonic) -> Check:
    """A function to call before each of `total` images: it tells how far the work is, and ends it on request."""
    done, told = 0, -INTERVAL

    def check() -> None:
        nonlocal done, told
        if context.should_stop():
            raise StopRequestedError(0)
        if clock() - told >= INTERVAL:
            told = clock()
            context.progress(
                ProgressNote(phase=phase, step=done, steps=total, fraction=done / total, device=machine.device_name())
            )
        done += 1

    return check


def lineage(context: Context, model: TrainedModel, *, resize: str) -> dict[str, object]:
    """The facts about what was applied to what, as part of the result's details."""
    job = context.job
    return {
        "task": job.task,
        "input": {"height": model.side, "width": model.side, "resize": resize},
        "model": {"version": job.model_version, "classes": list(model.classes)},
        "base": {"name": job.model_version, "digest": job.base_digest},
        "dataset": {"version": job.dataset_version, "content_hash": context.dataset.index.content_hash},
        "license": job.recipe_license,
        "recipe": {"name": job.recipe, "version": job.recipe_version},
        "device": machine.device_name(),
    }
