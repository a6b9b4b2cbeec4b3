"""By what a job applies a model version: which recipe, and which form of the model."""

from dataclasses import dataclass

from bloomery import errors
from bloomery._names import ORIGINAL, id_of
from bloomery._session import Session
from bloomery._versions import get_model_version, ready_variant
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


@dataclass(frozen=True)
class Means:
    """A recipe by its full name, and a variant; None for the version itself."""

    recipe: str
    variant: inference.ModelVariant | None = None


async def means(
    session: Session, version: inference.ModelVersion, kind: training.JobKind.ValueType, variant: str, gpus: int
) -> Means:
    """By what a job of a kind applies a version, or a variant of it by its id.

    Where none is named, predictions are made by the fastest READY variant that the recipe's worker runs, and all else
    by the version itself. A variant needs nothing of the library that trained it: where the version's own recipe is not
    installed, another one of its task does the job.

    Raises:
        NotFound: there is no such variant.
        FailedPrecondition: it is not READY.
    """
    # Its lineage names the recipe with its version.
    own = version.lineage.recipe.partition(" ")[0]
    if variant == ORIGINAL or (not variant and kind != training.JOB_KIND_PREDICT):
        return Means(own)
    recipe = await _recipe(session, version, own, kind)
    if variant:
        found: inference.ModelVariant | None = await ready_variant(session, version.name, variant)
    else:
        found = _fastest(await get_model_version(session, version.name), recipe, gpus)
    return Means(recipe.name if found else own, found)


async def _recipe(
    session: Session, version: inference.ModelVersion, own: str, kind: training.JobKind.ValueType
) -> training.Recipe:
    try:
        return await session.call(session.jobs.GetRecipe, training.GetRecipeRequest(name=own))
    except errors.NotFound:
        name = training.JobKind.Name(kind).removeprefix("JOB_KIND_")
        async for page in session.pages(session.jobs.ListRecipes, training.ListRecipesRequest()):
            for one in page.recipes:
                if one.task == version.task and one.forms and name in one.kinds:
                    return one
    # The server says which there are.
    return training.Recipe(name=own)


def _fastest(version: inference.ModelVersion, recipe: training.Recipe, gpus: int) -> inference.ModelVariant | None:
    """The fastest variant for the device of the job; none where only the version itself can use its GPU."""
    on_gpu = bool(gpus or recipe.resources.gpus)
    by_id = {id_of(one.name): one for one in version.variants if (one.device == "cpu") != on_gpu}
    return next((by_id[one] for one in version.fastest_variants if one in by_id and one in recipe.forms), None)
