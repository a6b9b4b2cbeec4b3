"""What of an export is written when: no image may be taken for one on which nothing is."""

import asyncio
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bloomery import DatasetVersion, _export
from bloomery._export import export
from bloomery._session import Session
from bloomery.dataset import v1 as dataset
from tests.sdk.exports import IMAGES, files, inlined
from tests.sdk.fake import Fake

IMAGE_FILES = {f"images/{name}" for name in IMAGES}


@contextmanager
def held(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> Iterator[tuple[threading.Event, threading.Event]]:
    """What tells that a function was called, and what lets the call go on."""
    begun, go = threading.Event(), threading.Event()
    called = getattr(owner, name)

    def waiting(*args: Any, **kwargs: Any) -> Any:
        if args[-1] != "w":
            begun.set()
            go.wait(20)
        return called(*args, **kwargs)

    monkeypatch.setattr(owner, name, waiting)
    try:
        yield begun, go
    finally:
        go.set()


def exporting(session: Session, version: DatasetVersion, to: Path) -> asyncio.Task[dict[str, int]]:
    return asyncio.create_task(export(session, version.name, dataset.EXPORT_FORMAT_YOLO, to, lambda _: None))


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def all_inlined(fake: Fake, version: DatasetVersion) -> None:
    inlined(fake, {"a.jpg": b"image a", "b.jpg": b"image b", "c.jpg": b"image c"})


async def test_images_are_written_while_label_files_are_unpacked(
    all_inlined: None, session: Session, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(monkeypatch, zipfile.ZipFile, "open") as (begun, _):
        task = exporting(session, version, tmp_path)
        await asyncio.to_thread(begun.wait, 20)
        await until(lambda: files(tmp_path).keys() == IMAGE_FILES)
    await task
    assert files(tmp_path).keys() > IMAGE_FILES


async def test_beside_an_earlier_export_images_wait_for_their_label_files(
    all_inlined: None, session: Session, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.yaml").write_bytes(b"names: [rbc]")
    with held(monkeypatch, zipfile.ZipFile, "open") as (begun, _):
        task = exporting(session, version, tmp_path)
        await asyncio.to_thread(begun.wait, 20)
        # Time enough to write an image.
        await asyncio.sleep(0.1)
        assert files(tmp_path).keys() == {"data.yaml"}
    await task
    assert files(tmp_path).keys() > IMAGE_FILES


async def test_an_export_that_is_called_off_writes_nothing_afterwards(
    all_inlined: None, session: Session, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(monkeypatch, _export, "write_checked") as (begun, go):
        task = exporting(session, version, tmp_path)
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        await asyncio.sleep(0.1)
        assert not task.done()
        go.set()
        await asyncio.wait([task])
        assert task.cancelled()
        left = files(tmp_path)
        await asyncio.sleep(0.1)
        assert files(tmp_path) == left
