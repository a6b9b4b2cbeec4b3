"""What the three recipes share: which kinds of job they do, and how each begins."""

from pathlib import Path

from bloomery_recipe_yolo import environment
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.evaluating import evaluate
from bloomery_worker.failures import ConfigError
from bloomery_worker.predicting import predict
from bloomery_worker.preflight import look
from bloomery_worker.recipe import Result


class YoloRecipe:
    """Trains, measures, predicts, exports and imports for the task of its job."""

    def preflight(self, context: Context) -> None:
        """Looks at the dataset version; what a step takes is found out when the model is there. Raises DataError."""
        look(context)

    def run(self, context: Context) -> Result:
        """Does a job of any kind that the recipe has."""
        environment.prepare(context.work_dir, Path(context.job.cache_dir))
        # These load the library, which reads its environment once.
        import torch

        from bloomery_recipe_yolo.flavours import FLAVOURS
        from bloomery_recipe_yolo.importing import import_model
        from bloomery_recipe_yolo.named import applied
        from bloomery_recipe_yolo.optimizing import optimize
        from bloomery_recipe_yolo.training import train

        torch.set_num_threads(machine.threads(context.job.cpus))
        flavour = FLAVOURS[context.job.task]
        match context.job.kind:
            case "TRAIN":
                return train(context, flavour)
            case "EVALUATE":
                return evaluate(context, applied(context, flavour))
            case "OPTIMIZE":
                return optimize(context, flavour)
            case "PREDICT":
                return predict(context, applied(context, flavour))
            case "IMPORT":
                return import_model(context, flavour)
            case kind:
                raise ConfigError(f"this recipe does no {kind} jobs", hint="choose another recipe")
