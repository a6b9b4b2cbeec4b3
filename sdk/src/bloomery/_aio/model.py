"""Models."""

from collections.abc import AsyncIterator

from bloomery._aio.alias import AsyncModelAlias, list_aliases
from bloomery._aio.base import AsyncHandle
from bloomery._aio.job import AsyncModelVersion
from bloomery._fields import ModelFields
from bloomery._session import Session
from bloomery._versions import get_model_version, preview_deletion
from bloomery.inference import v1 as inference


class AsyncModel(AsyncHandle[inference.Model], ModelFields):
    """A named line of model versions."""

    async def versions(self, *, inactive: bool = False) -> AsyncIterator[AsyncModelVersion]:
        """List its versions, newest first; also those that are `inactive` where they are asked for."""
        request = inference.ListModelVersionsRequest(parent=self.name, show_inactive=inactive)
        async for page in self._session.pages(self._session.models.ListModelVersions, request):
            for version in page.model_versions:
                yield AsyncModelVersion(self._session, version)

    async def aliases(self) -> AsyncIterator[AsyncModelAlias]:
        """List its aliases in the order of their ids."""
        async for alias in list_aliases(self._session, self.name):
            yield alias

    async def deletion(self) -> inference.ModelDeletion:
        """What would go with it: its versions, their variants, its aliases, and their files."""
        return await preview_deletion(self._session, self.name)

    async def delete(self) -> None:
        """Delete it with its versions, their variants and its aliases."""
        request = inference.DeleteModelRequest(name=self.name)
        await self._session.delete(self._session.models.DeleteModel, request)

    async def version(self, number: int | None = None) -> AsyncModelVersion:
        """One of its versions, the newest by default.

        Raises:
            NotFound: there is no such version.
        """
        proto = await get_model_version(self._session, f"{self.name}/versions/{number or 'latest'}")
        return AsyncModelVersion(self._session, proto)


async def list_models(session: Session, parent: str) -> AsyncIterator[AsyncModel]:
    """The models of a project, or of all with the wildcard."""
    async for page in session.pages(session.models.ListModels, inference.ListModelsRequest(parent=parent)):
        for model in page.models:
            yield AsyncModel(session, model)
