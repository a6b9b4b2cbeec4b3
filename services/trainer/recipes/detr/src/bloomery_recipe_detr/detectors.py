"""The family of the recipe: detectors of transformers that need no suppression."""

from pathlib import Path

from bloomery_recipe_detr import published
from bloomery_recipe_detr.learning import DetectorLearner
from bloomery_recipe_detr.model import TrainedDetector, open_model
from bloomery_recipe_detr.networks import SIZES
from bloomery_recipe_detr.weights import find_base, network
from bloomery_worker.bases import Base
from bloomery_worker.context import Context
from bloomery_worker.evaluate import DetectionEvaluator, MakeEvaluator
from bloomery_worker.training.family import Model, Trainee


class Detectors:
    """See `training.family.Family`."""

    file_name = published.FILE
    packages: tuple[str, ...] = (
        "transformers",
        "torch",
        "numpy",
        "scipy",
        "safetensors",
        "bloomery-worker",
        "bloomery-recipe-detr",
    )
    opener = f"{open_model.__module__}:{open_model.__name__}"
    evaluator: MakeEvaluator = DetectionEvaluator

    def base(self, context: Context) -> Base:
        """The base weights that the job names. Raises ConfigError."""
        return find_base(context)

    def trainee(self, context: Context, base: Base) -> Trainee:
        """A network, from the base weights, and the job's data. Raises ConfigError, DataError."""
        size = str(context.parameters.get("network") or SIZES[1])
        return DetectorLearner(context, network(context, base, size, int(context.parameters["imgsz"])))

    def open(self, path: Path, *, device: str) -> Model:
        """A published model. Raises ConfigError where the file is none."""
        return TrainedDetector(path, device=device)
