"""The entry to everything."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self

from bloomery import _names as names
from bloomery import errors
from bloomery._address import find_server
from bloomery._aio.accounts import AsyncAccounts
from bloomery._aio.alias import AsyncModelAlias, get_alias, list_changes
from bloomery._aio.data import AsyncAsset, AsyncImport, AsyncLabel
from bloomery._aio.dataset import AsyncDataset, AsyncDatasetVersion, list_datasets
from bloomery._aio.deployment import (
    AsyncDeployment,
    Runtime,
    create_deployment,
    get_deployment,
    list_deployments,
)
from bloomery._aio.group import AsyncJobGroup, get_job_group
from bloomery._aio.job import AsyncJob, AsyncModelVersion, list_jobs
from bloomery._aio.model import AsyncModel, list_models
from bloomery._aio.project import AsyncProject
from bloomery._aio.recipe import AsyncRecipe
from bloomery._fields import ModelVersionFields
from bloomery._labels import find_label
from bloomery._names import parent_of
from bloomery._resolve import Resolver
from bloomery._results import AliasChange
from bloomery._session import Session, Timeouts
from bloomery._versions import get_dataset_version, get_model_version
from bloomery.access.v1 import AuditEntry, ListAuditEntriesRequest
from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


class AsyncClient(AsyncAccounts):
    """A connection to a server, opened by the first call and closed by `close` or `async with`.

    Belongs to one event loop. Wherever a resource is named, its short form will do (`cells-v@1` for a version,
    `cells-v` for the newest, an id for everything else), which is looked up in `project`, or else must be the only
    match; the full name always does.

    Args:
        endpoint: `host:port`, `https://host:port` with TLS; by default BLOOMERY_ENDPOINT, else the server of the data
            folder (BLOOMERY_DATA, or `~/.local/share/bloomery`).
        token: the bearer token; by default BLOOMERY_TOKEN, else the one in the data folder.
        project: where short forms are looked up; by default BLOOMERY_PROJECT.
        timeouts: how long to wait.
        transfers: how many files travel at once; by default BLOOMERY_TRANSFERS, else 16.

    Raises:
        ServerNotFound: (from the first call) no server runs.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        project: str | None = None,
        timeouts: Timeouts | None = None,
        transfers: int | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._token = token
        self._project = project or os.environ.get("BLOOMERY_PROJECT")
        self._timeouts = timeouts
        self._transfers = transfers or _environment_number("BLOOMERY_TRANSFERS")
        self._opened: Session | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> Session:
        """Find the server and open the connection, if that is not done."""
        async with self._opening:
            if self._opened is None:
                address = await asyncio.to_thread(find_server, self._endpoint, self._token)
                self._opened = Session(address, timeouts=self._timeouts, transfers=self._transfers)
            return self._opened

    async def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            await opened.close()

    async def server_version(self) -> str:
        """The version of the server; empty for one that does not tell it."""
        session = await self.connect()
        await session.call(session.annotation.ListProjects, annotation.ListProjectsRequest(page_size=1))
        return session.server_version or ""

    async def _resolver(self) -> Resolver:
        return Resolver(await self.connect(), self._project)

    async def create_project(
        self, id: str, *, display_name: str = "", labels: Mapping[str, str] | None = None
    ) -> AsyncProject:
        """Create a project.

        Raises:
            AlreadyExists: the id is taken.
            InvalidArgument: the id is not `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`.
        """
        session = await self.connect()
        project = annotation.Project(display_name=display_name, labels=labels)
        request = annotation.CreateProjectRequest(project_id=id, project=project)
        return AsyncProject(session, await session.call(session.annotation.CreateProject, request))

    async def project(self, name: str | None = None) -> AsyncProject:
        """A project; without a name the client's own, else the only one that there is.

        Raises:
            NotFound: there is no such project.
            AmbiguousName: none is named, and there are several.
        """
        session = await self.connect()
        full = await Resolver(session, self._project).project(name)
        request = annotation.GetProjectRequest(name=full)
        try:
            return AsyncProject(session, await session.call(session.annotation.GetProject, request))
        except errors.NotFound as error:
            # An error of the listing is not what was asked about.
            with suppress(errors.BloomeryError):
                error.hint = names.other_projects(full, [project.name async for project in self.projects()])
            raise

    async def projects(self) -> AsyncIterator[AsyncProject]:
        """List all projects by id."""
        session = await self.connect()
        async for page in session.pages(session.annotation.ListProjects, annotation.ListProjectsRequest()):
            for project in page.projects:
                yield AsyncProject(session, project)

    async def audit_entries(
        self,
        *,
        project: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        subject: str = "",
        method: str = "",
        outcome: str = "",
    ) -> AsyncIterator[AuditEntry]:
        """List what people did, newest first: in a project, by default the client's, else in all.

        Args:
            project: its id or name; its admins may ask, for all those of the installation.
            since: not before this aware time.
            until: before this one.
            subject: who called.
            method: the last part of its name, such as "CreateJob", or the whole name.
            outcome: the name of a code such as "OK"; "FAILED" for all others, "UNFINISHED" for none.

        Raises:
            InvalidArgument: lists everything that cannot be asked for.
        """
        session = await self.connect()
        request = ListAuditEntriesRequest(
            parent=(await self._resolver()).listed(project), subject=subject, method=method, outcome=outcome
        )
        for field, time in ((request.start_time, since), (request.end_time, until)):
            if time is not None:
                field.FromDatetime(time)
        async for page in session.pages(session.audit.ListAuditEntries, request):
            for entry in page.entries:
                yield entry

    async def label(self, name: str) -> AsyncLabel:
        """A label, by its id or its display name."""
        session = await self.connect()
        project = parent_of(name) if names.LABEL.matches(name) else await (await self._resolver()).project()
        request = annotation.GetLabelRequest(name=await find_label(session, project, name))
        return AsyncLabel(session, await session.call(session.annotation.GetLabel, request))

    async def asset(self, name: str) -> AsyncAsset:
        """An image, by its id or its file name, with as much of its path as it takes."""
        session = await self.connect()
        request = annotation.GetAssetRequest(name=await (await self._resolver()).asset(name))
        return AsyncAsset(session, await session.call(session.annotation.GetAsset, request))

    async def get_import(self, name: str) -> AsyncImport:
        """An import."""
        session = await self.connect()
        request = annotation.GetImportRequest(name=await (await self._resolver()).find(names.IMPORT, name))
        return AsyncImport(session, await session.call(session.annotation.GetImport, request))

    async def dataset(self, name: str) -> AsyncDataset:
        """A dataset."""
        session = await self.connect()
        request = dataset.GetDatasetRequest(name=await (await self._resolver()).find(names.DATASET, name))
        return AsyncDataset(session, await session.call(session.datasets.GetDataset, request))

    async def dataset_version(self, name: str) -> AsyncDatasetVersion:
        """A version of a dataset: `cells-v@1`, or `cells-v` for the newest."""
        session = await self.connect()
        full = await (await self._resolver()).find(names.DATASET_VERSION, name)
        return AsyncDatasetVersion(session, await get_dataset_version(session, full))

    async def datasets(self, *, project: str | None = None) -> AsyncIterator[AsyncDataset]:
        """List the datasets of a project, by default of the client's, else of all."""
        session = await self.connect()
        async for one in list_datasets(session, (await self._resolver()).listed(project)):
            yield one

    async def recipe(self, id: str) -> AsyncRecipe:
        """A recipe with its parameters."""
        session = await self.connect()
        request = training.GetRecipeRequest(name=id if id.startswith("recipes/") else f"recipes/{id}")
        return AsyncRecipe(session, await session.call(session.jobs.GetRecipe, request))

    async def recipes(self) -> AsyncIterator[AsyncRecipe]:
        """List the recipes of the catalogue."""
        session = await self.connect()
        async for page in session.pages(session.jobs.ListRecipes, training.ListRecipesRequest()):
            for recipe in page.recipes:
                yield AsyncRecipe(session, recipe)

    async def model_forms(self) -> Sequence[inference.ModelForm]:
        """The forms in which models are served, the default first; `needs` says what is missing to make one."""
        session = await self.connect()
        return (await session.call(session.models.GetModelForms, inference.GetModelFormsRequest())).model_forms

    async def job(self, name: str) -> AsyncJob:
        """A job."""
        session = await self.connect()
        request = training.GetJobRequest(name=await (await self._resolver()).find(names.JOB, name))
        return AsyncJob(session, await session.call(session.jobs.GetJob, request))

    async def jobs(self, *, project: str | None = None, filter: str = "") -> AsyncIterator[AsyncJob]:
        """List jobs, newest first, of a project, by default of the client's, else of all.

        Args:
            project: its id or name.
            filter: terms joined by " AND ": `state:RUNNING`, `kind:TRAIN`, `active`, `label.KEY:VALUE`, `model:NAME`,
                `group:ID`.
        """
        session = await self.connect()
        async for job in list_jobs(session, (await self._resolver()).listed(project), filter):
            yield job

    async def job_group(self, name: str) -> AsyncJobGroup:
        """A group of jobs."""
        session = await self.connect()
        return await get_job_group(session, await (await self._resolver()).find(names.JOB_GROUP, name))

    async def job_groups(self, *, project: str | None = None) -> AsyncIterator[AsyncJobGroup]:
        """List the groups of jobs of a project, by default of the client's or the only one, by id."""
        session = await self.connect()
        request = training.ListJobGroupsRequest(parent=await (await self._resolver()).project(project))
        async for page in session.pages(session.jobs.ListJobGroups, request):
            for group in page.job_groups:
                yield AsyncJobGroup(session, group)

    async def model(self, name: str) -> AsyncModel:
        """A model."""
        session = await self.connect()
        request = inference.GetModelRequest(name=await (await self._resolver()).find(names.MODEL, name))
        return AsyncModel(session, await session.call(session.models.GetModel, request))

    async def model_version(self, name: str) -> AsyncModelVersion:
        """A version of a model: `cells-v@1`, `cells-v@champion` by an alias, or `cells-v` for the newest."""
        session = await self.connect()
        full = await (await self._resolver()).find(names.MODEL_VERSION, name)
        return AsyncModelVersion(session, await get_model_version(session, full))

    async def model_alias(self, name: str) -> AsyncModelAlias:
        """An alias of a model's versions: `cells-v@champion`."""
        session = await self.connect()
        return await get_alias(session, await (await self._resolver()).alias(name))

    async def alias_history(self, name: str) -> AsyncIterator[AliasChange]:
        """List the changes of an alias (`cells-v@champion`), the last first; also of one that was removed."""
        session = await self.connect()
        async for change in list_changes(session, await (await self._resolver()).alias(name)):
            yield change

    async def deploy(
        self,
        id: str,
        model: str | ModelVersionFields,
        *,
        runtime: Runtime = "onnxruntime",
        variant: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> AsyncDeployment:
        """Create a deployment and return it, PENDING; `wait` waits until it answers.

        Args:
            id: such as "door".
            model: a version (`cells-v@2`), or an alias (`cells-v@champion`), which the deployment moves from then on to
                each version that begins to serve.
            runtime: what runs it: the inference service itself, or Triton servers with an agent beside each.
            variant: id of the variant, such as "onnx-int8"; the fastest that the runtime can load by default.
            labels: free key-value pairs.

        Raises:
            AlreadyExists: the id is taken.
            NotFound: there is no such version or variant.
            FailedPrecondition: the version is inactive or has no variant for the runtime, or another deployment moves
                the alias.
        """
        session = await self.connect()
        name = await (await self._resolver()).find(names.MODEL_VERSION, model) if isinstance(model, str) else model.name
        project = parent_of(name, 2)
        return await create_deployment(session, project, id, name, runtime=runtime, variant=variant, labels=labels)

    async def deployment(self, name: str) -> AsyncDeployment:
        """A deployment by its id."""
        session = await self.connect()
        return await get_deployment(session, await (await self._resolver()).find(names.DEPLOYMENT, name))

    async def deployments(self, *, project: str | None = None, model: str = "") -> AsyncIterator[AsyncDeployment]:
        """List the deployments of a project, by default of the client's, else of all; or those of a `model`."""
        session, resolver = await self.connect(), await self._resolver()
        search = f"model:{await resolver.find(names.MODEL, model)}" if model else ""
        async for deployment in list_deployments(session, resolver.listed(project), search):
            yield deployment

    async def models(self, *, project: str | None = None) -> AsyncIterator[AsyncModel]:
        """List the models of a project, by default of the client's, else of all."""
        session = await self.connect()
        async for model in list_models(session, (await self._resolver()).listed(project)):
            yield model


def _environment_number(variable: str) -> int:
    """What a variable says; 0 where it is not set."""
    text = os.environ.get(variable, "") or "0"
    if not text.isdecimal():
        raise errors.InvalidArgument(f"{variable} is {text!r}", hint="give a whole number")
    return int(text)
