"""Labels, images and imports."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Self

from bloomery import errors
from bloomery._aio.base import AsyncHandle
from bloomery._fields import AssetFields, ImportFields, LabelFields
from bloomery._names import parent_of
from bloomery._results import Progress, Step, unseen
from bloomery._status import from_status
from bloomery._watch import follow
from bloomery.annotation import v1 as annotation

_OVER = frozenset(
    {annotation.Import.STATE_SUCCEEDED, annotation.Import.STATE_FAILED, annotation.Import.STATE_CANCELLED}
)


class AsyncLabel(AsyncHandle[annotation.Label], LabelFields):
    """A class of things that shapes carry."""

    async def delete(self, *, force: bool = False) -> None:
        """Delete it; `force` also deletes the shapes that carry it.

        Raises:
            FailedPrecondition: shapes carry it.
        """
        request = annotation.DeleteLabelRequest(name=self.name, force=force)
        await self._session.delete(self._session.annotation.DeleteLabel, request)


class AsyncAsset(AsyncHandle[annotation.Asset], AssetFields):
    """An image."""

    async def annotations(self) -> list[annotation.AnnotationSet]:
        """All sets of shapes on it: "main" is the people's, others hold suggestions."""
        request = annotation.ListAnnotationSetsRequest(parent=self.name)
        pages = self._session.pages(self._session.annotation.ListAnnotationSets, request)
        return [found async for page in pages for found in page.annotation_sets]

    async def download(self, to: str | Path) -> Path:
        """Write its original bytes to the file `to`.

        Raises:
            TransferFailed: they did not get through.
        """
        request = annotation.SignDownloadsRequest(parent=parent_of(self.name), assets=[self.name])
        signed = (await self._session.call(self._session.annotation.SignDownloads, request)).downloads[0]
        if signed.status.code:
            raise from_status(signed.status)
        await self._session.transfer.get(signed.get, Path(to), self.digest)
        return Path(to)

    async def delete(self) -> None:
        """Delete it with its annotations; dataset versions that hold it keep its bytes."""
        request = annotation.DeleteAssetRequest(name=self.name)
        await self._session.delete(self._session.annotation.DeleteAsset, request)


class AsyncImport(AsyncHandle[annotation.Import], ImportFields):
    """The reading of one labelled folder."""

    async def refresh(self) -> Self:
        """Read it again."""
        request = annotation.GetImportRequest(name=self.name)
        self._proto = await self._session.call(self._session.annotation.GetImport, request)
        return self

    async def watch(self) -> AsyncIterator[Step]:
        """Yield how far it is until it is over; survives restarts of the server."""

        def open_stream(cursor: int | None) -> AsyncGenerator[annotation.Import, None]:
            request = annotation.WatchImportRequest(name=self.name, after_sequence=cursor or 0)
            return self._session.stream(self._session.annotation.WatchImport, request)

        async with aclosing(follow(self._session, open_stream, lambda state: state.sequence)) as states:
            async for state in states:
                self._proto = state
                yield Step("importing", state.done_count, state.item_count)
                if state.state in _OVER:
                    return

    async def wait(self, *, progress: Progress = unseen) -> Self:
        """Wait until it is over.

        Raises:
            ImportFailed: it ended FAILED or CANCELLED.
        """
        async for step in self.watch():
            progress(step)
        if self.proto.state == annotation.Import.STATE_SUCCEEDED:
            return self
        error = self.proto.error
        failure = from_status(error)
        raise errors.ImportFailed(
            error.message or f"the import was {self.state.lower()}",
            resource=self.name,
            reason=failure.reason if error.code else self.state,
            hint=failure.hint,
        )

    async def cancel(self) -> Self:
        """Ask it to stop; what was saved stays."""
        request = annotation.CancelImportRequest(name=self.name)
        self._proto = await self._session.call(self._session.annotation.CancelImport, request)
        return self
