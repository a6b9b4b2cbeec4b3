"""The families of both recipes: classifiers of timm, which differ in nothing but the networks that they offer."""

from pathlib import Path

from bloomery_recipe_timm import networks, published
from bloomery_recipe_timm.learning import ClassifierLearner
from bloomery_recipe_timm.model import TrainedClassifier, open_model
from bloomery_recipe_timm.weights import architecture, find_base, take
from bloomery_worker.bases import Base
from bloomery_worker.classifying import ClassificationEvaluator
from bloomery_worker.context import Context
from bloomery_worker.evaluate import MakeEvaluator
from bloomery_worker.training.family import Model, Trainee


class Classifiers:
    """See `training.family.Family`.

    Args:
        default: the network that random weights are for unless people choose one.
    """

    file_name = published.FILE
    packages: tuple[str, ...] = (
        "timm",
        "torch",
        "torchvision",
        "numpy",
        "safetensors",
        "bloomery-worker",
        "bloomery-recipe-timm",
    )
    opener = f"{open_model.__module__}:{open_model.__name__}"
    evaluator: MakeEvaluator = ClassificationEvaluator

    def __init__(self, default: str) -> None:
        self._default = default

    def base(self, context: Context) -> Base:
        """The base weights that the job names. Raises ConfigError."""
        return find_base(context)

    def trainee(self, context: Context, base: Base) -> Trainee:
        """A network, from the base weights, and the job's data. Raises ConfigError, DataError."""
        name = architecture(base, str(context.parameters.get("network", "")), self._default)
        dropout = float(context.parameters.get("dropout", 0.0))
        network = networks.build(name, len(context.job.classes), dropout=dropout)
        take(network, base, context)
        return ClassifierLearner(context, name, network)

    def open(self, path: Path, *, device: str) -> Model:
        """A published model. Raises ConfigError where the file is none."""
        return TrainedClassifier(path, device=device)
