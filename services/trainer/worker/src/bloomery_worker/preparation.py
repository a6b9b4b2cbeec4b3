"""From the answer to StartAttempt to a job that the trainer process can begin: everything is on this machine."""

import asyncio
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from google.protobuf import struct_pb2

from bloomery.training.v1 import JobKind, Parameter, Recipe, StartAttemptResponse
from bloomery.vision.v1 import TaskType
from bloomery_worker.archives import unpack
from bloomery_worker.cache import BlobCache
from bloomery_worker.client import WorkerClient
from bloomery_worker.dataset import Dataset
from bloomery_worker.inputs import SLICE, Inputs, Wanted, pages, wanted_image, wanted_input, wanted_shards
from bloomery_worker.layout import place
from bloomery_worker.listing import list_images
from bloomery_worker.messages import JobSpec, ProgressNote, Value
from bloomery_worker.settings import WorkerSettings


class Preparation:
    """Downloads the inputs of one attempt. `progress` is told how far it is."""

    def __init__(
        self,
        settings: WorkerSettings,
        client: WorkerClient,
        cache: BlobCache,
        inputs: Inputs,
        progress: Callable[[ProgressNote], None],
    ) -> None:
        self._settings, self._client, self._cache = settings, client, cache
        self._inputs, self._progress = inputs, progress

    async def run(self, start: StartAttemptResponse) -> JobSpec:
        """Gets everything. Raises what `Inputs.all` does."""
        await asyncio.to_thread(self._cache.evict, self._settings.cache_bytes)
        return job_spec(
            start,
            self._settings,
            manifest=await self._manifest(start),
            base_file=await self._base(start),
            variant_dir=await self._variant(start),
            resume_dir=await self._resume(start),
        )

    async def _manifest(self, start: StartAttemptResponse) -> str:
        if start.job.HasField("project_images"):
            path = await list_images(self._client, self._cache, start.job, start.recipe.task, self._settings.work_dir)
            dataset = Dataset.open(path, self._cache)
        elif start.archives:
            return str(await self._unpacked(start))
        elif start.HasField("manifest"):
            path = await self._inputs.one(wanted_input(start.manifest, "the dataset version's index"))
            dataset = Dataset.open(path, self._cache)
            await self._inputs.all(wanted_shards(dataset.index))
        else:
            return ""
        await self._download(await _images(dataset), dispensable=start.job.kind == JobKind.JOB_KIND_PREDICT)
        return str(path)

    async def _unpacked(self, start: StartAttemptResponse) -> Path:
        wanted = [wanted_input(one, one.artifact.file_name) for one in start.archives]
        await self._download(wanted, dispensable=False)
        files = [(one.name, self._cache.path(one.digest)) for one in wanted]

        def advance(done: int, total: int) -> None:
            self._progress(ProgressNote(phase="unpacking", step=done, steps=total))

        return await unpack(files, self._cache, start.job, start.recipe.task, self._settings.work_dir, advance)

    async def _download(self, wanted: list[Wanted], *, dispensable: bool) -> None:
        def advance(done: int, total: int) -> None:
            self._progress(ProgressNote(phase="downloading", step=done, steps=total))

        await self._inputs.all(wanted, advance=advance, dispensable=dispensable)

    async def _base(self, start: StartAttemptResponse) -> str:
        if not start.HasField("base"):
            return ""
        cached = await self._inputs.one(wanted_input(start.base, "the base weights"))
        # Libraries tell formats by the suffix, which the cache's names lack.
        suffix = Path(start.base.artifact.file_name).suffix or ".pt"
        return str(place(cached, self._settings.work_dir / "base" / f"model{suffix}"))

    async def _variant(self, start: StartAttemptResponse) -> str:
        return await self._folder("form", [wanted_input(one, one.artifact.file_name) for one in start.variant])

    async def _resume(self, start: StartAttemptResponse) -> str:
        return await self._folder("resume", [wanted_input(file.input, file.path) for file in start.resume_from])

    async def _folder(self, name: str, wanted: list[Wanted]) -> str:
        """A folder with these files by their paths; "" where there are none."""
        if not wanted:
            return ""
        folder = self._settings.work_dir / name
        shutil.rmtree(folder, ignore_errors=True)
        await self._inputs.all(wanted)
        for one in wanted:
            place(self._cache.path(one.digest), folder / one.name)
        return str(folder)


async def _images(dataset: Dataset) -> list[Wanted]:
    found: list[Wanted] = []
    rows = pages((wanted_image(row) for row in dataset.rows()), SLICE)
    while page := await asyncio.to_thread(next, rows, None):
        found += page
    return found


def job_spec(
    start: StartAttemptResponse,
    settings: WorkerSettings,
    *,
    manifest: str,
    base_file: str,
    variant_dir: str,
    resume_dir: str,
) -> JobSpec:
    """The job in the recipe's terms; the files are on this machine, "" for those that the job has not."""
    job, recipe = start.job, start.recipe
    kind = JobKind.Name(job.kind).removeprefix("JOB_KIND_")
    return JobSpec(
        name=job.name,
        uid=job.uid,
        kind=kind,
        attempt=start.attempt,
        recipe=recipe.name.removeprefix("recipes/"),
        recipe_version=recipe.version,
        recipe_license=recipe.license,
        module=recipe.module,
        task=TaskType.Name(recipe.task).removeprefix("TASK_TYPE_").lower(),
        parameters=typed_parameters(job.effective_parameters, recipe, kind),
        classes=tuple(start.classes),
        dataset_version=job.dataset_version,
        project_images=job.HasField("project_images"),
        archives=tuple(one.artifact.digest for one in start.archives),
        manifest=manifest,
        base=job.base,
        bases=tuple(recipe.bases),
        base_file=base_file,
        base_digest=start.base.artifact.digest,
        model_version=job.model_version,
        variant=job.model_variant.rpartition("/")[2],
        variant_dir=variant_dir,
        resume_dir=resume_dir,
        resume_epoch=start.resume_epoch,
        cache_dir=str(settings.cache_dir),
        work_dir=str(settings.work_dir),
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        memory_share=job.resources.memory_bytes,
        gpus=job.resources.gpus,
    )


def typed_parameters(given: struct_pb2.Struct, recipe: Recipe, kind: str) -> Mapping[str, Value]:
    """Parameters with the types that the recipe declares; a Struct knows only real numbers."""
    whole = {one.id for one in _of_kind(recipe, kind) if one.type == Parameter.TYPE_INT}
    values = {name: _plain(value) for name, value in given.fields.items()}
    return {name: int(value) if name in whole else value for name, value in values.items()}


def _of_kind(recipe: Recipe, kind: str) -> Iterable[Parameter]:
    return (one for one in recipe.parameters if kind in (one.kinds or ("TRAIN",)))


def _plain(value: struct_pb2.Value) -> Value:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            return value.number_value
        case _:
            return value.string_value
