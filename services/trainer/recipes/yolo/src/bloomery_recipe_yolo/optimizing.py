"""OPTIMIZE: a model in another form."""

from functools import partial

from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_recipe_yolo.named import named_model
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.messages import ProgressNote
from bloomery_worker.recipe import Result
from bloomery_worker.variants import Original, Plan, make_variant

PACKAGES = ("ultralytics", "bloomery-recipe-yolo")


def optimize(context: Context, flavour: Flavour) -> Result:
    """Makes a variant of the model that the job names.

    Raises:
        ExportError: it does not give the same answers.
    """
    plan = Plan.of(context)
    model = named_model(context, device="cpu")

    def say(phase: str, fraction: float) -> None:
        context.progress(ProgressNote(phase=phase, fraction=fraction, device="cpu"))

    def check() -> None:
        if context.should_stop():
            raise StopRequestedError(0)

    made = make_variant(context, plan, original(flavour, model), say=say, check=check)
    parity = made.facts.parity
    return Result(
        files=made.files,
        metrics={"parity/original": parity.original_metric, "parity/variant": parity.variant_metric},
        details={},
        versions=made.versions,
        variants=(made.facts,),
    )


def original(flavour: Flavour, model: TrainedModel) -> Original:
    """A model on the CPU as forms are made of it."""
    size = model.side, model.side
    return Original(
        predict=model,
        write_onnx=partial(model.export, size=size, outputs=flavour.outputs),
        evaluator=partial(flavour.evaluator, size=size, classes=model.classes, decoder=flavour.decoder),
        classes=model.classes,
        size=size,
        resize=flavour.resize,
        box_rows=flavour.box_rows,
        packages=PACKAGES,
    )
