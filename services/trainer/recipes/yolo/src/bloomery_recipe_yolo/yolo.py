"""What the three recipes share: which kinds of job they do, and how each begins."""

from dataclasses import dataclass
from importlib import import_module

from bloomery_recipe_yolo import environment
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError, DataError
from bloomery_worker.recipe import Result


@dataclass(frozen=True, slots=True)
class YoloRecipe:
    """A recipe whose trainer is the class `trainer` of the module `exact`, which is imported when it is used."""

    trainer: str

    def preflight(self, context: Context) -> None:
        """Looks at the dataset version. Raises DataError."""
        if context.job.kind == "TRAIN" and not context.dataset.counts["train"]:
            raise DataError("the dataset version has no training images", hint="choose another split")

    def run(self, context: Context) -> Result:
        """Does a TRAIN or OPTIMIZE job."""
        environment.prepare(context.work_dir)
        match context.job.kind:
            case "TRAIN":
                from bloomery_recipe_yolo.training import train

                return train(context, getattr(import_module("bloomery_recipe_yolo.exact"), self.trainer))
            case "OPTIMIZE":
                from bloomery_recipe_yolo.optimizing import optimize

                return optimize(context)
            case kind:
                raise ConfigError(f"this recipe does no {kind} jobs", hint="choose another recipe")
