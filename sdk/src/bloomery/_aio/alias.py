"""Aliases of model versions."""

from collections.abc import AsyncIterator, Sequence
from typing import Self

from bloomery._aio.base import AsyncHandle
from bloomery._better import COMPARE_SECONDS
from bloomery._conditions import condition
from bloomery._fields import ModelAliasFields
from bloomery._results import AliasChange
from bloomery._session import Session
from bloomery.inference import v1 as inference


class AsyncModelAlias(AsyncHandle[inference.ModelAlias], ModelAliasFields):
    """A name for one version of a model, which may be moved to another one."""

    async def refresh(self) -> Self:
        """Read it again."""
        self._proto = (await get_alias(self._session, self.name)).proto
        return self

    async def remove(self, *, reason: str = "", expected: int | None = None) -> None:
        """Remove it; its version and its history stay.

        Args:
            reason: why, for its history.
            expected: number of the version that it must name now; whatever it names by default.

        Raises:
            Conflict: it names another version than `expected`.
        """
        request = inference.DeleteModelAliasRequest(name=self.name, reason=reason, expected_version=expected)
        await self._session.delete(self._session.models.DeleteModelAlias, request)


async def get_alias(session: Session, name: str) -> AsyncModelAlias:
    """Read an alias by its full name."""
    request = inference.GetModelAliasRequest(name=name)
    return AsyncModelAlias(session, await session.call(session.models.GetModelAlias, request))


async def list_changes(session: Session, name: str) -> AsyncIterator[AliasChange]:
    """The changes of an alias by its full name, the last first; also of one that was removed."""
    request = inference.ListModelAliasChangesRequest(parent=name)
    async for page in session.pages(session.models.ListModelAliasChanges, request):
        for change in page.model_alias_changes:
            yield AliasChange(change)


async def list_aliases(session: Session, model: str) -> AsyncIterator[AsyncModelAlias]:
    """The aliases of a model by its full name, in the order of their ids."""
    request = inference.ListModelAliasesRequest(parent=model)
    async for page in session.pages(session.models.ListModelAliases, request):
        for alias in page.model_aliases:
            yield AsyncModelAlias(session, alias)


async def set_alias(
    session: Session,
    version: str,
    alias: str,
    *,
    reason: str,
    expected: int | None,
    conditions: Sequence[str],
    on: str,
    if_better: bool,
    split: str,
) -> AsyncModelAlias:
    """Let an alias name a version; that and the dataset version to measure on are given by their full names."""
    request = inference.SetModelAliasRequest(
        name=f"{version.partition('/versions/')[0]}/aliases/{alias}",
        model_version=version,
        reason=reason,
        expected_version=expected,
        conditions=map(condition, conditions),
        dataset_version=on,
        if_better=if_better,
        split=split if if_better else "",
    )
    seconds = COMPARE_SECONDS if if_better else None
    return AsyncModelAlias(session, await session.call(session.models.SetModelAlias, request, seconds=seconds))
