"""The images of an export come page by page, small ones with their listing, each once and none long before its turn."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from bloomery import DatasetVersion, errors
from bloomery._concurrency import ahead
from bloomery._export import export
from bloomery._session import Session
from bloomery.dataset import v1 as dataset
from tests.sdk.blobs import Blobs, digest_of
from tests.sdk.exports import IMAGES, files, inlined
from tests.sdk.fake import Fake, Hang


async def test_images_come_while_label_files_are_made_and_wait_until_they_are(
    fake: Fake, session: Session, version: DatasetVersion, tmp_path: Path
) -> None:
    inlined(fake, {"a.jpg": b"image a", "b.jpg": b"image b", "c.jpg": b"image c"})
    listed, came, loop = fake.answers["ListDatasetItems"], asyncio.Event(), asyncio.get_running_loop()
    assert callable(listed)

    def noted(request: dataset.ListDatasetItemsRequest) -> Message:
        loop.call_soon_threadsafe(came.set)
        return listed(request)

    fake.answer("ListDatasetItems", noted)
    fake.queue("ExportDatasetVersion", Hang())
    before = asyncio.all_tasks()
    exporting = asyncio.create_task(
        export(session, version.name, dataset.EXPORT_FORMAT_YOLO, tmp_path / "out", lambda _: None)
    )
    async with asyncio.timeout(20):
        await came.wait()
        while not fake.calls["ExportDatasetVersion"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not (tmp_path / "out").exists()
    exporting.cancel()
    await asyncio.gather(exporting, return_exceptions=True)
    assert not (tmp_path / "out").exists()
    assert asyncio.all_tasks() == before


def test_small_images_come_with_their_listing(
    fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    inlined(fake, {"a.jpg": b"image a", "c.jpg": b"image c"})
    version.export("yolo", tmp_path / "out")
    assert {name: (tmp_path / "out/images" / name).read_bytes() for name in IMAGES} == IMAGES
    assert len(blobs.log) == 1 + 1
    # What is there already does not travel again.
    version.export("yolo", tmp_path / "out")
    assert [call.inline_contents for call in fake.calls["ListDatasetItems"]][-1] is False
    assert len(blobs.log) == 2 + 1


def test_a_repeat_that_lacks_many_images_gets_them_with_their_listing(
    fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    inlined(fake, {"a.jpg": b"image a", "b.jpg": b"image b", "c.jpg": b"image c"})
    version.export("yolo", tmp_path)
    whole = files(tmp_path)
    (tmp_path / "images/train/a.jpg").unlink()
    (tmp_path / "images/train/b.jpg").unlink()
    blobs.log.clear()
    fake.calls["ListDatasetItems"].clear()
    version.export("yolo", tmp_path)
    assert files(tmp_path) == whole
    asked = [(one.page_token, one.inline_contents) for one in fake.calls["ListDatasetItems"] if one.sign_downloads]
    # The second page is asked for as the first one was, though nothing of it is missing.
    assert asked == [("", False), ("", True), ("2", True)]
    assert len(blobs.log) == 1


def test_other_bytes_in_a_listing_are_refused(fake: Fake, version: DatasetVersion, tmp_path: Path) -> None:
    inlined(fake, {"a.jpg": b"something else"})
    with pytest.raises(errors.DigestMismatch, match=r"a\.jpg"):
        version.export("yolo", tmp_path)
    assert not (tmp_path / "images/train/a.jpg").exists()
    assert not list(tmp_path.rglob("*.part"))


async def test_no_download_is_signed_long_before_its_turn(
    fake: Fake, session: Session, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    listed, first, go_on = fake.answers["ListDatasetItems"], threading.Event(), threading.Event()

    def one_by_one(request: dataset.ListDatasetItemsRequest) -> Message:
        assert callable(listed)
        start = int(request.page_token or 0)
        page = listed(dataset.ListDatasetItemsRequest(page_token=str(start)))
        assert isinstance(page, dataset.ListDatasetItemsResponse)
        del page.items[1:]
        page.next_page_token = str(start + 1) if start < 2 else ""
        return page

    class Gated(dict[str, bytes]):
        def get(self, digest: str, _default: object = None) -> bytes | None:  # type: ignore[override]
            if digest == digest_of(b"image a"):
                first.set()
                go_on.wait(20)
            return self[digest]

    fake.answer("ListDatasetItems", one_by_one)
    blobs.held = Gated(blobs.held)
    exporting = asyncio.create_task(
        export(session, version.name, dataset.EXPORT_FORMAT_YOLO, tmp_path / "out", lambda _: None)
    )
    await asyncio.to_thread(first.wait, 20)
    # Time enough to ask for the third page.
    await asyncio.sleep(0.2)
    asked = len(fake.calls["ListDatasetItems"])
    go_on.set()
    await exporting
    assert asked == 2
    assert len(fake.calls["ListDatasetItems"]) == 3


@pytest.mark.parametrize(("weight", "read"), [(1, 4), (2, 2), (4, 1)])
async def test_what_weighs_more_is_read_less_far_ahead(weight: int, read: int) -> None:
    asked: list[int] = []

    async def source() -> AsyncGenerator[int, None]:
        for number in range(9):
            asked.append(number)
            yield number

    async with ahead(source(), 4, lambda _: weight) as numbers:
        for taken in range(3):
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(asked) == read + taken
            assert await anext(numbers) == taken
        rest = [number async for number in numbers]
    assert rest == [3, 4, 5, 6, 7, 8]


async def test_what_was_read_ahead_is_closed_with_its_reader() -> None:
    async def source() -> AsyncGenerator[int, None]:
        while True:
            yield 1

    with pytest.raises(ZeroDivisionError):
        async with ahead(source(), 2) as numbers:
            await anext(numbers)
            raise ZeroDivisionError
    with pytest.raises(StopAsyncIteration):
        await anext(numbers)
