"""What a wish names, asked of whoever knows it; nothing is judged here."""

from dataclasses import dataclass

from bloomery_kit.errors import NotFound
from bloomery_kit.names import Pattern
from bloomery_trainer import inputs
from bloomery_trainer.core import Core, belongs
from bloomery_trainer.model import Resources
from bloomery_trainer.neighbours import DatasetFacts
from bloomery_trainer.recipes import Recipe
from bloomery_trainer.wishes import Wish

DATASET_VERSION = Pattern("projects/{project}/datasets/{dataset}/versions/{version}")


@dataclass(frozen=True)
class Resolved:
    """A wish with what it names: None for what does not exist.

    `known_recipes` tells which there are, `base_owned` says whether the file to work on is the project's, `base_gone`
    why it is not there, `capacity` what there is to run it on, None where somebody else keeps count.
    """

    wish: Wish
    project_uid: str
    recipe: Recipe | None
    known_recipes: str
    dataset: DatasetFacts | None
    base_owned: bool
    base_gone: str
    capacity: Resources | None


async def resolve(core: Core, wish: Wish) -> Resolved:
    """Ask for everything that a wish names. Raise the neighbour's NOT_FOUND for its project."""
    project_uid = await core.neighbours.project_uid(wish.project)
    base = wish.base_artifact
    owned = base is not None and belongs(base.logical_key, project_uid)
    return Resolved(
        wish=wish,
        project_uid=project_uid,
        recipe=_recipe(core, wish.recipe),
        known_recipes=core.catalogue.known(),
        dataset=await _dataset(core, wish),
        base_owned=owned,
        base_gone=await inputs.missing(core, base, project_uid) if base is not None and owned else "",
        capacity=core.launcher.capacity(),
    )


def _recipe(core: Core, name: str) -> Recipe | None:
    try:
        return core.catalogue.get(name)
    except NotFound:
        return None


async def _dataset(core: Core, wish: Wish) -> DatasetFacts | None:
    named = wish.dataset_version
    is_own = DATASET_VERSION.matches(named) and named.startswith(f"{wish.project}/")
    return await core.neighbours.dataset(named) if is_own else None
