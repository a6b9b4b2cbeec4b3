"""What the jobs that apply a model to many images share: the model as they see it, and word of how far they are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bloomery_worker.context import Context
from bloomery_worker.evaluate import Check, MakeEvaluator, Size
from bloomery_worker.messages import ProgressNote
from bloomery_worker.predictor import Predictor

INTERVAL = 1.0
"""Seconds between two words of progress."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A model as the jobs that apply it see it.

    Attributes:
        predict: gives its raw outputs.
        evaluator: measures models of its task.
        classes: names in the order of their numbers.
        size: of its input.
        resize: how an image is fitted to it.
        decoder: how its outputs are read.
        packages: whose versions the results name.
        runtime: what loads it anew, see `runners.opener`.
        file: from which file.
        device: what it computes on, for people.
    """

    predict: Predictor
    evaluator: MakeEvaluator
    classes: tuple[str, ...]
    size: Size
    resize: str
    decoder: str
    packages: tuple[str, ...]
    runtime: str
    file: Path
    device: str


def multi_label(context: Context) -> bool:
    """Whether one anchor may answer for several classes. Classifiers have no such parameter, nor have older jobs."""
    return bool(context.parameters.get("multi_label", False))


def paced(
    context: Context,
    phase: str,
    total: int,
    device: str,
    *,
    done: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Check:
    """A function to call before each of `total` images, but for those that are `done` before.

    It tells how far the work is, and ends it on request.
    """
    told = -INTERVAL

    def check() -> None:
        nonlocal done, told
        context.check_stop()
        if clock() - told >= INTERVAL:
            told = clock()
            context.progress(ProgressNote(phase=phase, step=done, steps=total, fraction=done / total, device=device))
        done += 1

    return check


def _images(context: Context) -> dict[str, object]:
    index = context.dataset.index
    if context.job.archives:
        return {"folder": {"archives": list(context.job.archives)}}
    if context.job.project_images:
        return {"project": {"uid": index.project_uid, "sequence": index.read_sequence}}
    return {"dataset": {"version": context.job.dataset_version, "content_hash": index.content_hash}}


def lineage(context: Context, model: Applied) -> dict[str, object]:
    """The facts about what was applied to what, as part of the result's details."""
    job = context.job
    return {
        "task": job.task,
        "input": {"height": model.size[0], "width": model.size[1], "resize": model.resize},
        "model": {"version": job.model_version, "classes": list(model.classes)},
        "variant": job.variant,
        "base": {"name": job.model_version, "digest": job.base_digest},
        **_images(context),
        "license": job.recipe_license,
        "recipe": {"name": job.recipe, "version": job.recipe_version},
        "device": model.device,
    }
