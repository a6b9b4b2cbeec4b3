"""What has to be known to use a model, as trainings and imports say it."""

from bloomery.training.v1 import ModelFacts, ModelInput
from bloomery.vision.v1 import TaskType
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import TrainedModel
from bloomery_worker.context import Context


def model_facts(context: Context, flavour: Flavour, model: TrainedModel, *, base: str, base_digest: str) -> ModelFacts:
    """The facts about a model that is published, made from `base`."""
    job = context.job
    return ModelFacts(
        task=TaskType.Value(f"TASK_TYPE_{job.task.upper()}"),
        classes=model.classes,
        input=ModelInput(height=model.side, width=model.side, resize=flavour.resize),
        decoder=flavour.decoder,
        heads=model.heads,
        license=job.recipe_license,
        base=base,
        base_digest=base_digest,
        seed=int(job.parameters.get("seed", 0)),
    )
