"""What a wish names, asked of whoever knows it; nothing is judged here."""

from dataclasses import dataclass, replace

from bloomery_kit.errors import NotFound
from bloomery_kit.names import Pattern
from bloomery_trainer import checkpoints, inputs
from bloomery_trainer.core import Core, belongs
from bloomery_trainer.model import Artifact, Kind, ProjectImages, Resources
from bloomery_trainer.neighbours import DatasetFacts
from bloomery_trainer.recipes import Recipe
from bloomery_trainer.wishes import Wish

DATASET_VERSION = Pattern("projects/{project}/datasets/{dataset}/versions/{version}")


@dataclass(frozen=True)
class File:
    """A file to work on: the request's field that names it, whether it is the project's, and why it is not there."""

    field: str
    artifact: Artifact
    owned: bool
    gone: str


@dataclass(frozen=True)
class Resolved:
    """A wish with what it names: None for what does not exist.

    Where it starts from a checkpoint of another job, `wish` has the file, or `base_problem` says what is wrong with it.
    `images` are those of the project at this moment, `filter_problem` says what is wrong with their filter,
    `known_recipes` tells which there are, `capacity` what there is to run it on, None where somebody else keeps count.
    """

    wish: Wish
    base_problem: str
    project_uid: str
    images: ProjectImages | None
    filter_problem: str
    recipe: Recipe | None
    known_recipes: str
    dataset: DatasetFacts | None
    files: tuple[File, ...]
    capacity: Resources | None


async def resolve(core: Core, wish: Wish) -> Resolved:
    """Ask for everything that a wish names. Raise the neighbour's NOT_FOUND for its project."""
    project = await core.neighbours.project(wish.project)
    project_uid = project.uid
    wish, base_problem = await _based(core, wish)
    return Resolved(
        wish=wish,
        base_problem=base_problem,
        project_uid=project_uid,
        images=replace(wish.images, read_sequence=project.sequence) if wish.images else None,
        filter_problem=await core.neighbours.filter_problem(wish.project, wish.images) if wish.images else "",
        recipe=_recipe(core, wish.recipe),
        known_recipes=core.catalogue.known(),
        dataset=await _dataset(core, wish),
        files=tuple([await _file(core, field, one, project_uid) for field, one in _files(wish)]),
        capacity=core.launcher.capacity(),
    )


async def _based(core: Core, wish: Wish) -> tuple[Wish, str]:
    """A wish with the file of the checkpoint that it starts from, or what is wrong with that."""
    if wish.base_artifact is not None or wish.kind is not Kind.TRAIN or not checkpoints.is_name(wish.base):
        return wish, ""
    ids = checkpoints.ids_of(wish.base, "job.base")
    job = f"projects/{ids['project']}/jobs/{ids['job']}"
    if not wish.base.startswith(f"{wish.project}/"):
        return wish, f"must lie in {wish.project}, as the job does"
    try:
        found, file = await checkpoints.weights(core, wish.project, ids["job"], ids["checkpoint"])
    except NotFound as error:
        return wish, error.message
    if file is None:
        return wish, f"has no file {checkpoints.WEIGHTS} to start from: only {job} itself can go on from it"
    return replace(wish, base=f"{job}/checkpoints/{found.epoch}", base_artifact=file), ""


def _files(wish: Wish) -> list[tuple[str, Artifact]]:
    base = [("job.base_artifact", wish.base_artifact)] if wish.base_artifact else []
    several = {"variant_artifacts": wish.variant_artifacts, "folder_images.archives": wish.archives or ()}
    return [*base, *((f"job.{field}[{at}]", one) for field, files in several.items() for at, one in enumerate(files))]


async def _file(core: Core, field: str, artifact: Artifact, project_uid: str) -> File:
    owned = belongs(artifact.logical_key, project_uid)
    gone = await inputs.missing(core, artifact, project_uid) if owned else ""
    return File(field, artifact, owned, gone)


def _recipe(core: Core, name: str) -> Recipe | None:
    try:
        return core.catalogue.get(name)
    except NotFound:
        return None


async def _dataset(core: Core, wish: Wish) -> DatasetFacts | None:
    named = wish.dataset_version
    is_own = DATASET_VERSION.matches(named) and named.startswith(f"{wish.project}/")
    return await core.neighbours.dataset(named) if is_own else None
