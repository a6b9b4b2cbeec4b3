"""The entry to everything, for code that does not use asyncio."""

from types import TracebackType
from typing import Self

from bloomery._aio.client import AsyncClient
from bloomery._session import Timeouts
from bloomery._sync.alias import ModelAlias
from bloomery._sync.data import Asset, Import, Label
from bloomery._sync.dataset import Dataset, DatasetVersion
from bloomery._sync.deployment import Deployment
from bloomery._sync.group import JobGroup
from bloomery._sync.job import Job, ModelVersion
from bloomery._sync.model import Model
from bloomery._sync.portal import Facade, Portal, blocking, iterating, listing, wrapping
from bloomery._sync.project import Project
from bloomery._sync.recipe import Recipe


class Client(Facade):
    """A connection to a server; `close` or `with` closes it. May be used by several threads.

    The arguments are those of `AsyncClient`, and so are the methods, which wait for their answers here.

    Raises:
        ServerNotFound: no server runs.
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
        twin = AsyncClient(endpoint, token=token, project=project, timeouts=timeouts, transfers=transfers)
        super().__init__(Portal(), twin)
        try:
            self._portal.run(self._twin.connect())
        except BaseException:
            self._portal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the handles that came from it are of no more use."""
        if self._portal.close.alive:
            self._portal.run(self._twin.close())
            self._portal.close()

    server_version = blocking(AsyncClient.server_version)
    create_project = wrapping(AsyncClient.create_project, Project)
    project = wrapping(AsyncClient.project, Project)
    projects = listing(AsyncClient.projects, Project)
    audit_entries = iterating(AsyncClient.audit_entries)
    label = wrapping(AsyncClient.label, Label)
    asset = wrapping(AsyncClient.asset, Asset)
    get_import = wrapping(AsyncClient.get_import, Import)
    dataset = wrapping(AsyncClient.dataset, Dataset)
    dataset_version = wrapping(AsyncClient.dataset_version, DatasetVersion)
    datasets = listing(AsyncClient.datasets, Dataset)
    recipe = wrapping(AsyncClient.recipe, Recipe)
    recipes = listing(AsyncClient.recipes, Recipe)
    job = wrapping(AsyncClient.job, Job)
    jobs = listing(AsyncClient.jobs, Job)
    job_group = wrapping(AsyncClient.job_group, JobGroup)
    job_groups = listing(AsyncClient.job_groups, JobGroup)
    model = wrapping(AsyncClient.model, Model)
    model_version = wrapping(AsyncClient.model_version, ModelVersion)
    model_alias = wrapping(AsyncClient.model_alias, ModelAlias)
    alias_history = iterating(AsyncClient.alias_history)
    deploy = wrapping(AsyncClient.deploy, Deployment)
    deployment = wrapping(AsyncClient.deployment, Deployment)
    deployments = listing(AsyncClient.deployments, Deployment)
    models = listing(AsyncClient.models, Model)
    model_forms = blocking(AsyncClient.model_forms)
    whoami = blocking(AsyncClient.whoami)
    create_token = blocking(AsyncClient.create_token)
    tokens = iterating(AsyncClient.tokens)
    revoke_token = blocking(AsyncClient.revoke_token)
    members = iterating(AsyncClient.members)
    set_member = blocking(AsyncClient.set_member)
    remove_member = blocking(AsyncClient.remove_member)
