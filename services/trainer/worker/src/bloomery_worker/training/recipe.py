"""A recipe on this loop: which kinds of job it does, and how each begins."""

import torch

from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.evaluating import evaluate
from bloomery_worker.failures import ConfigError
from bloomery_worker.optimizing import optimize
from bloomery_worker.predicting import predict
from bloomery_worker.preflight import look
from bloomery_worker.recipe import Result
from bloomery_worker.training.applied import applied, named_model, original
from bloomery_worker.training.family import Family
from bloomery_worker.training.train import train


class LoopRecipe:
    """Trains, measures, predicts and exports models of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def preflight(self, context: Context) -> None:
        """Looks at what the job works on. Raises DataError, ConfigError."""
        look(context)

    def run(self, context: Context) -> Result:
        """Does a job of any kind that the recipe has."""
        torch.set_num_threads(machine.threads(context.job.cpus))
        family = self._family
        match context.job.kind:
            case "TRAIN":
                return train(context, family)
            case "EVALUATE":
                return evaluate(context, applied(context, family))
            case "OPTIMIZE":
                return optimize(context, lambda: original(family, named_model(context, family, device="cpu")))
            case "PREDICT":
                return predict(context, applied(context, family))
            case kind:
                raise ConfigError(f"this recipe does no {kind} jobs", hint="choose another recipe")
