"""Datasets and their versions."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, get_args

from bloomery import errors
from bloomery._aio.base import AsyncHandle
from bloomery._aio.job import AsyncModelVersion, list_descendants
from bloomery._aio.trainings import AsyncTrainings
from bloomery._choices import chosen
from bloomery._export import export, label_files
from bloomery._fields import DatasetFields
from bloomery._names import parent_of
from bloomery._results import Progress, Step, unseen
from bloomery._session import Session
from bloomery._status import from_status
from bloomery._versions import get_dataset_version
from bloomery._watch import follow
from bloomery.dataset import v1 as dataset

if TYPE_CHECKING:
    from bloomery.augmentation import Sheet

ExportFormat = Literal["yolo", "coco", "imagefolder"]


class AsyncDatasetVersion(AsyncTrainings):
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

    async def preview_augmentation(
        self, policy: str | Path, *, split: str = "train", images: int = 4, variants: int = 3, seed: int = 0
    ) -> "list[Sheet]":
        """What an augmentation policy makes of its first images: each beside changed copies, with shapes drawn.

        The images are changed here, with the extra `bloomery[augment]`; nothing is written.

        Args:
            policy: such as "low_contrast,lighting=poor,intensity=high", or a file of one.
            split: whose images.
            images: how many at most.
            variants: changed copies of each.
            seed: of the changes.

        Raises:
            InvalidArgument: lists all that is wrong with the policy.
            FailedPrecondition: the extra is not installed, or the version is not READY.
            TransferFailed: the object store cannot be reached.
        """
        # Pictures are loaded by nothing else here.
        from bloomery._previewing import previewed

        return await previewed(self._session, self.name, policy, split, images, variants, seed)

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
