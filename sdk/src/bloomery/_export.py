"""A dataset version as a folder that other tools read."""

import asyncio
import tempfile
from pathlib import Path

from bloomery._archive import extract, files_below, inside, members, refuse_foreign
from bloomery._results import Progress, Step
from bloomery._session import Session
from bloomery._transfer import together
from bloomery.dataset.v1 import (
    DatasetItem,
    ExportDatasetVersionRequest,
    ExportDatasetVersionResponse,
    ExportFormat,
    ListDatasetItemsRequest,
)

_PAGE = 250
_MAKING_SECONDS = 300.0


async def export(session: Session, version: str, format: ExportFormat.ValueType, to: Path, progress: Progress) -> None:
    """Write labels and images below `to`; images that are there already do not travel again.

    Raises:
        TransferFailed: the object store cannot be reached, or a file would leave the folder.
        FailedPrecondition: the version is not READY, or `to` holds files that are not of this export.
        InvalidArgument: `to` is a file.
    """
    progress(Step("exporting"))
    there = await asyncio.to_thread(files_below, to)
    exported = await ask(session, version, format)
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.zip"
        await session.transfer.get(exported.download, labels, exported.archive.digest)
        if there:
            await _check(session, version, to, there - members(labels))
        await asyncio.to_thread(extract, labels, to)
    await _images(session, version, to, progress)


async def ask(session: Session, version: str, format: ExportFormat.ValueType) -> ExportDatasetVersionResponse:
    """Have the label files made, where they are not yet."""
    request = ExportDatasetVersionRequest(name=version, format=format)
    return await session.call(session.datasets.ExportDatasetVersion, request, seconds=_MAKING_SECONDS)


async def _check(session: Session, version: str, to: Path, there: set[str]) -> None:
    listing = ListDatasetItemsRequest(parent=version, page_size=_PAGE)
    async for page in session.pages(session.datasets.ListDatasetItems, listing):
        there -= {_path(item) for item in page.items}
    refuse_foreign(to, there)


async def _images(session: Session, version: str, to: Path, progress: Progress) -> None:
    done = 0
    listing = ListDatasetItemsRequest(parent=version, page_size=_PAGE, sign_downloads=True)
    async for page in session.pages(session.datasets.ListDatasetItems, listing):
        await together(session.transfer.get(item.download, inside(to, _path(item)), item.digest) for item in page.items)
        done += len(page.items)
        progress(Step("downloading", done, page.total_size))


def _path(item: DatasetItem) -> str:
    return f"images/{item.split}/{item.file_name}"
