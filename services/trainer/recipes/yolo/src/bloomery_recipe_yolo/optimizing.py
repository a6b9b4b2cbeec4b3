"""OPTIMIZE: a model in another form."""

from functools import partial

from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_recipe_yolo.named import named_model
from bloomery_worker import optimizing
from bloomery_worker.context import Context
from bloomery_worker.recipe import Result
from bloomery_worker.variants import Original

PACKAGES = ("ultralytics", "bloomery-recipe-yolo")


def optimize(context: Context, flavour: Flavour) -> Result:
    """Makes a variant of the model that the job names. Raises ExportError where it does not give the same answers."""
    return optimizing.optimize(context, lambda: original(flavour, named_model(context, device="cpu")))


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
        decoder=flavour.decoder,
        packages=PACKAGES,
    )
