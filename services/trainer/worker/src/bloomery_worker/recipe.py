"""The seam between the worker and recipes.

A recipe is a `recipe.yaml`, which the control plane reads, and the module that it names, which has an attribute
`recipe` with the two methods below. The module is imported in the trainer process only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from bloomery.training.v1 import ModelFacts, VariantFacts
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import FileNote


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a job made.

    Attributes:
        files: to publish; roles are unique.
        metrics: final measurements from our own evaluation, such as "test/map50".
        details: further facts for people, as plain JSON values.
        versions: of the libraries that made it.
        model: what has to be known to use the model that a TRAIN or IMPORT job made; all but `heads` and a digest of
            base weights is needed.
        variants: forms of a model that the job made or failed to make: one for OPTIMIZE.
    """

    files: tuple[FileNote, ...]
    metrics: Mapping[str, float]
    details: Mapping[str, object]
    versions: Mapping[str, str]
    model: ModelFacts | None = None
    variants: tuple[VariantFacts, ...] = ()


class Recipe(Protocol):
    """A way to do jobs of some kinds."""

    def preflight(self, context: Context) -> None:
        """Finds out quickly whether the job can be done at all. Raises WorkError."""
        ...

    def run(self, context: Context) -> Result:
        """Does the job.

        Looks at `context.should_stop()` often (at least at every step) and raises StopRequestedError when it says so.
        Raises WorkError for what the user can mend.
        """
        ...


def load_recipe(module: str) -> Recipe:
    """Imports a recipe's code.

    Raises:
        ConfigError: it is not installed here.
    """
    try:
        recipe: Recipe = import_module(module).recipe
    except ModuleNotFoundError as problem:
        if problem.name and module.startswith(problem.name):
            hint = "install the recipe's package beside the worker"
            raise ConfigError(f"the recipe's code {module} is not installed on this worker", hint=hint) from problem
        raise
    return recipe
