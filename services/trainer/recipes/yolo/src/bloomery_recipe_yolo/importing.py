"""IMPORT: a checkpoint that Ultralytics has written elsewhere, or an adapter, as a model version like others."""

import time
from pathlib import Path

from bloomery_recipe_yolo.exact import BEST_FILE
from bloomery_recipe_yolo.facts import model_facts
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.foreign import Foreign
from bloomery_recipe_yolo.lora.merging import SUFFIXES, found, merged
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_recipe_yolo.named import PACKAGES
from bloomery_recipe_yolo.training import image_size
from bloomery_vision.interpret import are_finite
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError, DataError
from bloomery_worker.messages import FileNote, ProgressNote
from bloomery_worker.parity import generated_images
from bloomery_worker.recipe import Result

MASK_COEFFICIENTS = 32


def import_model(context: Context, flavour: Flavour) -> Result:
    """Reads the file without running anything in it, tries the model, and publishes it in our own form.

    Raises:
        ConfigError: it is no checkpoint of the recipe's task that our evaluation and serving can work with.
        DataError: its weights or its outputs are no finite numbers.
    """
    started = time.monotonic()
    foreign, side = _read(context)
    target = context.work_dir / BEST_FILE
    foreign.write(target, side=side)
    _say(context, "trying", 0.5)
    model = TrainedModel(target, device="cpu")
    _try(model, flavour, masks=foreign.task == "segment")
    context.log.info("imported a model of %d classes for images of %d x %d", len(foreign.classes), side, side)
    job = context.job
    base, base_digest = foreign.base or (job.base or "imported", job.base_digest)
    return Result(
        files=(FileNote(path=str(target), role="checkpoint", file_name=BEST_FILE),),
        metrics={},
        details={
            "base": {"name": base, "digest": base_digest, "license": foreign.license},
            "recipe": {"name": job.recipe, "version": job.recipe_version},
            "device": "cpu",
            "duration_seconds": time.monotonic() - started,
        },
        versions=machine.versions(PACKAGES),
        model=model_facts(context, flavour, model, base=base, base_digest=base_digest),
    )


def _read(context: Context) -> tuple[Foreign, int]:
    """The file, and the side of the model's square input. Raises ConfigError, DataError."""
    if not context.job.base_file:
        raise ConfigError("the job names no file to import", hint="upload one, and give it as base_artifact")
    _say(context, "reading", 0.1)
    foreign = _given(context)
    if foreign.task != context.job.task:
        hint = f"import it with the task {foreign.task}"
        raise ConfigError(f"the file is of a model to {foreign.task}, not to {context.job.task}", hint=hint)
    side = context.parameters.get("imgsz", foreign.side)
    if side is None:
        raise ConfigError("the file does not say for which image size it was trained", hint="give the parameter imgsz")
    return foreign, image_size({"imgsz": side})[0]


def _given(context: Context) -> Foreign:
    """A checkpoint, or what an adapter makes of its base."""
    file = Path(context.job.base_file)
    if file.suffix in SUFFIXES:
        return Foreign.of(*merged(*found(context, file)))
    return Foreign.read(file)


def _try(model: TrainedModel, flavour: Flavour, *, masks: bool) -> None:
    """Runs the model once: there are heads of the same task whose outputs have another form."""
    rows = flavour.box_rows + len(model.classes) + MASK_COEFFICIENTS * masks
    outputs = model(generated_images(1, (model.side, model.side)))
    if len(outputs) != len(flavour.outputs) or outputs[0].shape[1] != rows:
        shapes = ", ".join(str(output.shape) for output in outputs)
        hint = "import a YOLO model with one of the usual heads"
        raise ConfigError(f"the model's outputs have a form that is not known here: {shapes}", hint=hint)
    if not are_finite(outputs):
        raise DataError("the model's outputs are no finite numbers", hint="import a checkpoint that predicts")


def _say(context: Context, phase: str, fraction: float) -> None:
    context.check_stop()
    context.progress(ProgressNote(phase=phase, fraction=fraction, device="cpu"))
