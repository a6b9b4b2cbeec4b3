"""A form of a model as the jobs that apply it see it: read from the files of its Triton model directory alone."""

import json
from importlib.util import find_spec
from pathlib import Path

from bloomery_vision.forms import CPU, FORMS, GPU, TENSORRT, Form
from bloomery_vision.interpret import default_decoder
from bloomery_worker import machine
from bloomery_worker.applying import Applied
from bloomery_worker.context import Context
from bloomery_worker.engines import check_available
from bloomery_worker.evaluate import MakeEvaluator
from bloomery_worker.failures import ConfigError, DataError
from bloomery_worker.runners import RUNNERS, Runner

MANIFEST = "manifest.json"
DISTRIBUTIONS = {TENSORRT: "tensorrt-cu13"}
"""What runtimes are installed as, where that is another name."""


def applied_form(context: Context, evaluator: MakeEvaluator) -> Applied:
    """The form of a model that the job names.

    Args:
        context: of the job.
        evaluator: measures models of its task.

    Raises:
        ConfigError: there is no such form, it is one of another task, or this worker has no runtime for it.
        DataError: its files are not those of a form, or cannot be loaded.
    """
    job, root = context.job, Path(context.job.variant_dir)
    form = _known(job.variant)
    try:
        said = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        task, classes, size, resize = (said[name] for name in ("task", "classes", "size", "resize"))
        height, width = map(int, size)
    except (OSError, ValueError, LookupError, TypeError) as problem:
        message = f"the files of {job.variant} do not say what it is: {problem}"
        raise DataError(message, hint="make it again") from problem
    if task != job.task:
        hint = "choose the recipe of the model's task"
        raise ConfigError(f"the model is one to {task}, not to {job.task}", hint=hint)
    file = root / "1" / form.file
    return Applied(
        predict=_loaded(context, form, file),
        evaluator=evaluator,
        classes=tuple(map(str, classes)),
        size=(height, width),
        resize=str(resize),
        decoder=str(said.get("decoder") or default_decoder(task)),
        packages=(DISTRIBUTIONS.get(form.runtime, form.runtime), "numpy", "bloomery-worker"),
        runtime=form.runtime,
        file=file,
        device=machine.device_name() if form.device == GPU else CPU,
    )


def _known(variant: str) -> Form:
    form = FORMS.get(variant)
    if form is None or form.runtime not in RUNNERS:
        known = ", ".join(one.id for one in FORMS.values() if one.runtime in RUNNERS)
        raise ConfigError(f"no worker of this version runs {variant}; they run {known}", hint="name another form")
    if form.runtime == TENSORRT:
        check_available(form.id)
    elif not find_spec(form.runtime):
        message = f"{form.id} is run by the package {form.runtime}, which this worker lacks"
        raise ConfigError(message, hint=f"install bloomery-worker[{form.runtime}], or name another form")
    return form


def _loaded(context: Context, form: Form, file: Path) -> Runner:
    try:
        return RUNNERS[form.runtime](file, threads=machine.threads(context.job.cpus))
    except MemoryError:
        raise
    except Exception as problem:  # runtimes raise all kinds for a broken file
        told = str(problem).replace(str(file), file.name).strip()[:300]
        raise DataError(f"{form.runtime} cannot load {form.id}: {told}", hint="make the form again") from problem
