"""What the three recipes share: which kinds of job they do, and how each begins."""

from bloomery_worker.context import Context
from bloomery_worker.evaluating import evaluate
from bloomery_worker.failures import ConfigError
from bloomery_worker.optimizing import optimize
from bloomery_worker.predicting import predict
from bloomery_worker.recipe import Result
from bloomery_worker.splits import check_split
from bloomery_worker.variants import Plan


class OnnxRecipe:
    """Imports, measures, predicts and exports for the task of its job."""

    def preflight(self, context: Context) -> None:
        """Looks at what the job works on. Raises DataError, ConfigError."""
        if context.job.kind in ("EVALUATE", "PREDICT"):
            check_split(context)
        if context.job.kind == "OPTIMIZE":
            Plan.of(context)

    def run(self, context: Context) -> Result:
        """Does a job of any kind that the recipe has."""
        # These load the runtime.
        from bloomery_recipe_onnx.imported import named, named_original
        from bloomery_recipe_onnx.importing import import_model

        match context.job.kind:
            case "EVALUATE":
                return evaluate(context, named(context))
            case "OPTIMIZE":
                return optimize(context, lambda: named_original(context))
            case "PREDICT":
                return predict(context, named(context))
            case "IMPORT":
                return import_model(context)
            case kind:
                raise ConfigError(f"this recipe does no {kind} jobs", hint="choose another recipe")
