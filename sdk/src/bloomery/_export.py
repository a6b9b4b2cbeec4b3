"""A dataset version as a folder that other tools read."""

import asyncio
import csv
import io
import tempfile
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Self

from bloomery._archive import Found, extract, found_below, inside, members, refuse_foreign
from bloomery._concurrency import ahead, together, unbroken
from bloomery._files import write_checked
from bloomery._results import Progress, Step
from bloomery._session import Session
from bloomery.common.v1 import SignedRequest
from bloomery.dataset.v1 import (
    EXPORT_FORMAT_IMAGEFOLDER,
    DatasetItem,
    ExportDatasetVersionRequest,
    ExportDatasetVersionResponse,
    ExportFormat,
    ListDatasetItemsRequest,
    ListDatasetItemsResponse,
)

Place = Callable[[DatasetItem], str]
_TABLE = "images.csv"
_PAGE = 250
_DOWNLOAD = 5
"""So many small images come with a page in the time that a download of one takes."""
_MAKING_SECONDS = 300.0
_AHEAD = 8
"""Pages, of some 4 MiB at most."""


async def export(
    session: Session, version: str, format: ExportFormat.ValueType, to: Path, progress: Progress
) -> dict[str, int]:
    """Write labels and images below `to`, and return what the format loses; what is there does not travel again.

    Raises:
        TransferFailed: the object store cannot be reached, or a file would leave the folder.
        FailedPrecondition: the version is not READY, or `to` holds links, or something else than this export.
        InvalidArgument: `to` is a file.
    """
    progress(Step("exporting"))
    there = await asyncio.to_thread(found_below, to)
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch) / "labels.zip"
        if format == EXPORT_FORMAT_IMAGEFOLDER:
            losses = await _fetch_labels(session, version, format, labels)
            place = await asyncio.to_thread(_table_places, labels)
            async with ahead(_listing(session, version, there, place), _AHEAD, attrgetter("weight")) as pages:
                await _write(session, version, to, there, _Parts(labels, place, pages), progress)
            return losses
        # While the label files are made, which may be refused, the images come, and wait here.
        async with ahead(_listing(session, version, there, _path), _AHEAD, attrgetter("weight")) as pages:
            losses = await _fetch_labels(session, version, format, labels)
            await _write(session, version, to, there, _Parts(labels, _path, pages), progress)
    return losses


async def _fetch_labels(
    session: Session, version: str, format: ExportFormat.ValueType, archive: Path
) -> dict[str, int]:
    exported = await label_files(session, version, format)
    await session.transfer.get(exported.download, archive, exported.archive.digest)
    return dict(exported.losses)


async def _write(session: Session, version: str, to: Path, there: Found, parts: "_Parts", progress: Progress) -> None:
    if there == Found():
        # No image is taken for one of nothing: data.yaml, by which people train, comes after all label files.
        await together([extract(parts.labels, to), _images(session, parts.pages, to, progress)])
    else:
        await _check(session, version, to, there, members(parts.labels), parts.place)
        await extract(parts.labels, to)
        await _images(session, parts.pages, to, progress)


async def label_files(session: Session, version: str, format: ExportFormat.ValueType) -> ExportDatasetVersionResponse:
    """Have the label files made, where they are not yet."""
    request = ExportDatasetVersionRequest(name=version, format=format)
    return await session.call(session.datasets.ExportDatasetVersion, request, seconds=_MAKING_SECONDS)


async def _check(session: Session, version: str, to: Path, there: Found, written: set[str], place: Place) -> None:
    listing = ListDatasetItemsRequest(parent=version, page_size=_PAGE, without_shapes=True)
    async for page in session.pages(session.datasets.ListDatasetItems, listing):
        written |= {place(item) for item in page.items}
    refuse_foreign(to, there.foreign(written))


@dataclass(frozen=True, slots=True)
class _Image:
    """One of a listing: its path in an export, and its bytes, or how to get them."""

    path: str
    digest: str
    content: bytes
    download: SignedRequest | None

    @classmethod
    def of(cls, item: DatasetItem, place: Place) -> Self:
        # Taken once: a message copies its bytes each time that it is asked for them.
        content = item.content
        return cls(place(item), item.digest, content, None if content else item.download)


@dataclass(frozen=True)
class _Page:
    """Some images, of `total` in all."""

    images: Sequence[_Image]
    total: int

    @property
    def weight(self) -> int:
        """Downloads are signed for a while: no page of them is read before its forerunner has its turn."""
        return 1 if all(image.content for image in self.images) else _AHEAD


@dataclass(frozen=True)
class _Parts:
    """What an export is made of: its label files, where images belong, and the images."""

    labels: Path
    place: Place
    pages: AsyncIterator[_Page]


async def _listing(session: Session, version: str, there: Found, place: Place) -> AsyncGenerator[_Page, None]:
    """The images page by page; small ones come with it where many of a page are not there."""
    listing = ListDatasetItemsRequest(
        parent=version, page_size=_PAGE, sign_downloads=True, inline_contents=not there.files, without_shapes=True
    )
    while True:
        page = await session.call(session.datasets.ListDatasetItems, listing)
        many = _lacks_many(page, there, place)
        if many and not listing.inline_contents:
            listing.inline_contents = True
            continue
        yield _Page([_Image.of(item, place) for item in page.items], page.total_size)
        if not page.next_page_token:
            return
        listing.inline_contents = many
        listing.page_token = page.next_page_token


def _lacks_many(page: ListDatasetItemsResponse, there: Found, place: Place) -> bool:
    missing = sum(place(item) not in there.files for item in page.items)
    return missing * _DOWNLOAD > len(page.items)


async def _images(session: Session, pages: AsyncIterator[_Page], to: Path, progress: Progress) -> None:
    """Write the images."""
    done = 0
    async for page in pages:
        await unbroken(asyncio.create_task(asyncio.to_thread(_write_arrived, page.images, to)))
        await together(
            session.transfer.get(image.download, inside(to, image.path), image.digest)
            for image in page.images
            if image.download
        )
        done += len(page.images)
        progress(Step("downloading", done, page.total))


def _write_arrived(images: Sequence[_Image], to: Path) -> None:
    arrived = [(inside(to, image.path), image) for image in images if image.content]
    for folder in {path.parent for path, _ in arrived}:
        folder.mkdir(parents=True, exist_ok=True)
    for path, image in arrived:
        write_checked(path, image.content, image.digest)


def _path(item: DatasetItem) -> str:
    return f"images/{item.split}/{item.file_name}"


def _table_places(archive: Path) -> Place:
    """Where images belong by the table of an archive."""
    with zipfile.ZipFile(archive) as opened, opened.open(_TABLE) as table:
        lines = csv.DictReader(io.TextIOWrapper(table, "utf-8", newline=""))
        places = {(line["split"], line["file_name"]): line["image"] for line in lines}

    def place(item: DatasetItem) -> str:
        return places[item.split, item.file_name]

    return place
