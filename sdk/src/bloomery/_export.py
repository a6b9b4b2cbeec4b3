"""A dataset version as a folder that other tools read."""

import asyncio
import tempfile
from pathlib import Path

from bloomery._archive import extract, inside
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
        FailedPrecondition: the version is not READY.
    """
    progress(Step("exporting"))
    request = ExportDatasetVersionRequest(name=version, format=format)
    exported = await session.call(session.datasets.ExportDatasetVersion, request, seconds=_MAKING_SECONDS)
    await _labels(session, exported, to)
    done = 0
    listing = ListDatasetItemsRequest(parent=version, page_size=_PAGE, sign_downloads=True)
    async for page in session.pages(session.datasets.ListDatasetItems, listing):
        await together(_image(session, item, to) for item in page.items)
        done += len(page.items)
        progress(Step("downloading", done, page.total_size))


async def _labels(session: Session, exported: ExportDatasetVersionResponse, to: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "labels.zip"
        await session.transfer.get(exported.download, archive, exported.archive.digest)
        await asyncio.to_thread(extract, archive, to)


async def _image(session: Session, item: DatasetItem, to: Path) -> None:
    await session.transfer.get(item.download, inside(to, f"images/{item.split}/{item.file_name}"), item.digest)
