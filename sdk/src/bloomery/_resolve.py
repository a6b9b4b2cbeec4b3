"""From what people type to full names."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from bloomery import _names as names
from bloomery._names import ANY_PROJECT, Kind
from bloomery._session import Session
from bloomery.annotation.v1 import ListAssetsRequest, ListProjectsRequest
from bloomery.dataset.v1 import ListDatasetsRequest
from bloomery.errors import AmbiguousName, InvalidArgument, NotFound
from bloomery.inference.v1 import ListDeploymentsRequest, ListModelsRequest
from bloomery.training.v1 import ListJobsRequest

_ID = re.compile("[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LIST_ASSETS = "`bloomery assets list --filter name:TEXT` shows those with a part of it in their name"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class Resolver:
    """Finds resources in the client's project, else as the only match among all that the caller can see."""

    def __init__(self, session: Session, project: str | None) -> None:
        self._session = session
        self._project = names.project_name(project) if project else None

    async def project(self, text: str | None = None) -> str:
        """The full name of a project: the one given, the client's, or the only one that there is.

        Raises:
            AmbiguousName: none is given, and there are several.
            NotFound: none is given, and there is none.
        """
        if text:
            return names.project_name(text)
        if self._project:
            return self._project
        found = [project.name async for project in self._projects()]
        return _only("the project", found, "no project exists", "create one with `bloomery project create ID`")

    def listed(self, text: str | None) -> str:
        """The project whose resources are listed: the one given, the client's, or the wildcard for all."""
        return names.project_name(text) if text else self._project or ANY_PROJECT

    async def find(self, kind: Kind, text: str) -> str:
        """The full name of what `text`, a full name or a short form, means.

        Raises:
            InvalidArgument: `text` is neither.
            AmbiguousName: several projects have it.
            NotFound: none has it.
        """
        if kind.matches(text):
            return text
        kind.check(text)
        if self._project or kind.collection not in _SEARCHES:
            return kind.below(await self.project(), text)
        identifier = text.partition("@")[0]
        found = [resource.name async for resource in _SEARCHES[kind.collection](self._session, f"id:{identifier}")]
        missing = f"{kind.title} {text} does not exist in any project"
        hint = f"`bloomery {kind.command} list` shows what there is"
        if kind.collection == "models":
            hint += ", `bloomery jobs list` what may still be in the making"
        name = _only(f"{kind.title} {text}", found, missing, hint)
        return kind.below(names.parent_of(name), text)

    async def alias(self, text: str) -> str:
        """The full name of the alias that `text`, `MODEL@ALIAS` or its full name, means.

        Raises:
            InvalidArgument: `text` is neither.
            AmbiguousName: several projects have the model.
            NotFound: none has it.
        """
        if "/aliases/" in text:
            return text
        model, at, alias = text.rpartition("@")
        if not at or not alias:
            raise InvalidArgument(f"{text!r} does not name an alias", hint="give MODEL@ALIAS")
        return f"{await self.find(names.MODEL, model)}/aliases/{alias}"

    async def asset(self, text: str) -> str:
        """The full name of the image that `text`, its id, file name or full name, means.

        Raises:
            AmbiguousName: several images have the file name.
            NotFound: none has it.
        """
        if names.ASSET.matches(text) or not text or _ID.fullmatch(text):
            return await self.find(names.ASSET, text)
        request = ListAssetsRequest(parent=await self.project(), filter=f"name:{text}")
        pages = self._session.pages(self._session.annotation.ListAssets, request)
        ending = f"/{text}"
        called = [asset async for page in pages for asset in page.assets if f"/{asset.display_name}".endswith(ending)]
        found = [asset for asset in called if asset.display_name == text] or called
        if len({asset.display_name for asset in found}) > 1:
            hint = "give more of its path, or its id"
            raise AmbiguousName(f"image {text}", [asset.display_name for asset in found], hint=hint)
        return _only(f"image {text}", [asset.name for asset in found], f"no image is called {text}", _LIST_ASSETS)

    async def _projects(self) -> AsyncIterator[_Named]:
        async for page in self._session.pages(self._session.annotation.ListProjects, ListProjectsRequest()):
            for project in page.projects:
                yield project


async def _datasets(session: Session, search: str) -> AsyncIterator[_Named]:
    request = ListDatasetsRequest(parent=ANY_PROJECT, filter=search)
    async for page in session.pages(session.datasets.ListDatasets, request):
        for dataset in page.datasets:
            yield dataset


async def _models(session: Session, search: str) -> AsyncIterator[_Named]:
    async for page in session.pages(session.models.ListModels, ListModelsRequest(parent=ANY_PROJECT, filter=search)):
        for model in page.models:
            yield model


async def _jobs(session: Session, search: str) -> AsyncIterator[_Named]:
    async for page in session.pages(session.jobs.ListJobs, ListJobsRequest(parent=ANY_PROJECT, filter=search)):
        for job in page.jobs:
            yield job


async def _deployments(session: Session, search: str) -> AsyncIterator[_Named]:
    request = ListDeploymentsRequest(parent=ANY_PROJECT, filter=search)
    async for page in session.pages(session.deployments.ListDeployments, request):
        for deployment in page.deployments:
            yield deployment


_SEARCHES: dict[str, Callable[[Session, str], AsyncIterator[_Named]]] = {
    "datasets": _datasets,
    "models": _models,
    "jobs": _jobs,
    "deployments": _deployments,
}


def _only(what: str, found: list[str], missing: str, hint: str) -> str:
    if not found:
        raise NotFound(missing, hint=hint)
    if len(found) > 1:
        raise AmbiguousName(what, found)
    return found[0]
