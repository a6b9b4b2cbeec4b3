"""Datasets and their versions."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self, get_args

from bloomery import errors
from bloomery._aio.base import AsyncHandle
from bloomery._aio.group import AsyncJobGroup, get_job_group
from bloomery._aio.job import AsyncJob, AsyncModelVersion, list_descendants
from bloomery._choices import chosen
from bloomery._export import export, label_files
from bloomery._fields import DatasetFields, DatasetVersionFields
from bloomery._jobs import Parameter, checkpoint_of, struct
from bloomery._names import MODEL_VERSION, parent_of
from bloomery._resolve import Resolver
from bloomery._results import Progress, Step, unseen
from bloomery._session import Session
from bloomery._status import from_status
from bloomery._versions import get_dataset_version, get_model_version
from bloomery._watch import follow
from bloomery.dataset import v1 as dataset
from bloomery.training import v1 as training

ExportFormat = Literal["yolo", "coco", "imagefolder"]


class AsyncDatasetVersion(AsyncHandle[dataset.DatasetVersion], DatasetVersionFields):
    """A fixed choice of images with labels and split."""

    async def refresh(self) -> Self:
        """Read it again."""
        self._proto = await get_dataset_version(self._session, self.name)
        return self

    async def watch(self) -> AsyncIterator[Step]:
        """Yield how far its building is until it is over; survives restarts of the server."""
        name = f"{parent_of(self.name)}/versions/{self.proto.uid}"

        def open_stream(cursor: int | None) -> AsyncGenerator[dataset.DatasetVersion, None]:
            request = dataset.WatchDatasetVersionRequest(name=name, after_sequence=cursor or 0)
            return self._session.stream(self._session.datasets.WatchDatasetVersion, request)

        async with aclosing(follow(self._session, open_stream, lambda state: state.sequence)) as states:
            async for state in states:
                self._proto = state
                yield Step("building", state.done_count, state.item_count)
                if state.state != dataset.DatasetVersion.STATE_BUILDING:
                    return

    async def wait(self, *, progress: Progress = unseen) -> Self:
        """Wait until it is READY, from when on its name has its number.

        Raises:
            BuildFailed: it cannot be built.
        """
        if self.state == "BUILDING":
            async for step in self.watch():
                progress(step)
        if self.state == "READY":
            return self
        failure = from_status(self.proto.error)
        raise errors.BuildFailed(self.proto.error.message, resource=self.name, reason=failure.reason, hint=failure.hint)

    async def items(self, *, filter: str = "") -> AsyncIterator[dataset.DatasetItem]:
        """List its images with their shapes; `filter` is empty, `split:NAME` or `class:NAME`."""
        request = dataset.ListDatasetItemsRequest(parent=self.name, page_size=250, filter=filter)
        async for page in self._session.pages(self._session.datasets.ListDatasetItems, request):
            for item in page.items:
                yield item

    async def export(self, format: ExportFormat, to: str | Path, *, progress: Progress = unseen) -> Path:
        """Write labels and images below the folder `to`, and return it; what is there already does not travel again.

        Raises:
            TransferFailed: the object store cannot be reached.
            FailedPrecondition: the version is not READY, or `to` holds files that are not of this export.
            InvalidArgument: `to` is a file, or there is no such format.
        """
        await self.export_with_losses(format, to, progress=progress)
        return Path(to)

    async def export_with_losses(
        self, format: ExportFormat, to: str | Path, *, progress: Progress = unseen
    ) -> dict[str, int]:
        """Do as `export`, and return what `export_losses` tells."""
        kind = chosen(dataset.ExportFormat, "format", format, get_args(ExportFormat))
        return await export(self._session, self.name, kind, Path(to), progress)

    async def export_losses(self, format: ExportFormat) -> dict[str, int]:
        """How many shapes the format cannot hold as they are, by what becomes of them: `{"crowd left out": 3}`.

        Raises:
            FailedPrecondition: the version is not READY.
            InvalidArgument: there is no such format.
        """
        kind = chosen(dataset.ExportFormat, "format", format, get_args(ExportFormat))
        return dict((await label_files(self._session, self.name, kind)).losses)

    async def train(
        self,
        /,
        recipe: str,
        *,
        model: str = "",
        base: str = "",
        name: str = "",
        validate_only: bool = False,
        priority: int = 0,
        deadline: float = 0,
        labels: Mapping[str, str] | None = None,
        group: str = "",
        cpus: float = 0,
        memory: int = 0,
        gpus: int = 0,
        settings: Mapping[str, Parameter] | None = None,
        **parameters: Parameter,
    ) -> AsyncJob:
        """Start a training job on it.

        Args:
            recipe: such as "yolo-detect".
            model: the model to publish under; by default the one with the dataset's id.
            base: weights to start from: as the recipe names them, "scratch", a version of ours such as "cells-v@1", or
                a checkpoint of another job, such as "jobs/JOB/checkpoints/7" or "jobs/JOB/checkpoints/best".
            name: id of the job; made by the server by default.
            validate_only: check and fill in everything, but start nothing.
            priority: larger goes first.
            deadline: seconds that it may take, all attempts together; 0 for no limit.
            labels: for filtering lists of jobs.
            group: id of the group that it belongs to, of which all jobs are listed and cancelled together.
            cpus: processor cores; here and below, 0 for the recipe's default.
            memory: bytes.
            gpus: how many.
            settings: parameters of the recipe, also such as have a name that is taken here.
            parameters: parameters of the recipe, such as `epochs=5`.

        Raises:
            InvalidArgument: lists every wrong parameter with its limits.
        """
        project = parent_of(self.name, 2)
        job = training.Job(
            kind=training.JOB_KIND_TRAIN,
            recipe=recipe if recipe.startswith("recipes/") else f"recipes/{recipe}",
            dataset_version=self.name,
            parameters=struct({**(settings or {}), **parameters}),
            model=f"{project}/models/{model}" if model and "/" not in model else model,
            priority=priority,
            deadline_seconds=math.ceil(deadline),
            labels=labels,
            group=group,
            resources=training.Resources(cpus=cpus, memory_bytes=memory, gpus=gpus),
        )
        await self._start_from(job, base, project)
        request = training.CreateJobRequest(parent=project, job_id=name, job=job, validate_only=validate_only)
        return AsyncJob(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    async def train_grid(
        self, /, recipe: str, grid: Mapping[str, Sequence[Parameter]], *, group: str, **common: Any
    ) -> AsyncJobGroup:
        """Start a training for every combination of parameter values, and return their group.

        All are checked before the first one starts.

        Args:
            recipe: such as "yolo-detect".
            grid: the values of each parameter that differs, such as `{"lr0": [0.001, 0.01], "imgsz": [320, 640]}`.
            group: id of the group.
            common: what all have in common, as `train` takes it.

        Raises:
            InvalidArgument: a combination is refused; lists every wrong parameter with its limits.
        """
        settings = common.pop("settings", None) or {}
        combinations = [{**settings, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]
        for validate_only in (True, False):
            for each in combinations:
                await self.train(recipe, group=group, settings=each, validate_only=validate_only, **common)
        return await get_job_group(self._session, f"{parent_of(self.name, 2)}/jobGroups/{group}")

    async def _start_from(self, job: training.Job, base: str, project: str) -> None:
        if "@" not in base and not MODEL_VERSION.matches(base):
            job.base = f"{project}/{base}" if base.startswith("jobs/") else base
            return
        version = await get_model_version(
            self._session, await Resolver(self._session, project).find(MODEL_VERSION, base)
        )
        job.base_artifact.CopyFrom(checkpoint_of(version))
        job.base = version.name

    async def model_versions(self) -> AsyncIterator[AsyncModelVersion]:
        """List the model versions that were made from it, newest first."""
        origin = f"dataset_version:{self.name}"
        async for version in list_descendants(self._session, parent_of(self.name, 2), origin):
            yield version

    async def delete(self) -> None:
        """Delete it; its number is not used again.

        Raises:
            FailedPrecondition: jobs or models hold it.
        """
        request = dataset.DeleteDatasetVersionRequest(name=self.name)
        await self._session.delete(self._session.datasets.DeleteDatasetVersion, request)


class AsyncDataset(AsyncHandle[dataset.Dataset], DatasetFields):
    """A named line of dataset versions."""

    async def versions(self) -> AsyncIterator[AsyncDatasetVersion]:
        """List its versions, newest first."""
        request = dataset.ListDatasetVersionsRequest(parent=self.name)
        async for page in self._session.pages(self._session.datasets.ListDatasetVersions, request):
            for version in page.dataset_versions:
                yield AsyncDatasetVersion(self._session, version)

    async def version(self, number: int | None = None) -> AsyncDatasetVersion:
        """One of its versions, the newest READY one by default.

        Raises:
            NotFound: there is no such version.
        """
        proto = await get_dataset_version(self._session, f"{self.name}/versions/{number or 'latest'}")
        return AsyncDatasetVersion(self._session, proto)

    async def delete(self) -> None:
        """Delete it with its versions.

        Raises:
            FailedPrecondition: a version is still held.
        """
        request = dataset.DeleteDatasetRequest(name=self.name)
        await self._session.delete(self._session.datasets.DeleteDataset, request)


async def list_datasets(session: Session, parent: str) -> AsyncIterator[AsyncDataset]:
    """The datasets of a project, or of all with the wildcard."""
    async for page in session.pages(session.datasets.ListDatasets, dataset.ListDatasetsRequest(parent=parent)):
        for one in page.datasets:
            yield AsyncDataset(session, one)
