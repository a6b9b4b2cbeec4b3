"""OPTIMIZE: a model in another form."""

from bloomery_recipe_yolo.applying import named_model
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.variant import make_onnx
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.messages import ProgressNote
from bloomery_worker.recipe import Result


def optimize(context: Context, flavour: Flavour) -> Result:
    """Makes the ONNX variant of the model that the job names.

    Raises:
        ExportError: the export does not give the same answers.
    """
    original = named_model(context, device="cpu")

    def say(phase: str, fraction: float) -> None:
        if context.should_stop():
            raise StopRequestedError(0)
        context.progress(ProgressNote(phase=phase, fraction=fraction, device="cpu"))

    made = make_onnx(context, flavour, original, images=int(context.parameters["images"]), say=say)
    parity = made.facts.parity
    return Result(
        files=made.files,
        metrics={"parity/original": parity.original_metric, "parity/variant": parity.variant_metric},
        details={},
        versions=made.versions,
        variants=(made.facts,),
    )
