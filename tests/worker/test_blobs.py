"""Transfers that are checked."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bloomery_worker.blobs import WrongBytesError, digest_of, download, http_client, upload
from bloomery_worker.failures import TransferError
from tests.worker.fake_trainer import Blobs
from tests.worker.sample_data import digest


@pytest.fixture
def store() -> Iterator[Blobs]:
    blobs = Blobs()
    blobs.start()
    yield blobs
    blobs.stop()


async def test_bytes_go_up_and_come_back(store: Blobs, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 << 20))
    url = store.sign("a").url
    async with http_client() as client:
        await upload(client, url, {}, source, size=3 << 20)
        await download(client, url, {}, digest=digest_of(source), target=target)
    assert target.read_bytes() == source.read_bytes()


async def test_wrong_bytes_do_not_stay(store: Blobs, tmp_path: Path) -> None:
    store.content["a"] = b"something"
    store.corrupt.add("a")
    async with http_client() as client:
        with pytest.raises(WrongBytesError):
            await download(client, store.sign("a").url, {}, digest=digest(b"something"), target=tmp_path / "target")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a quick look in an async test


async def test_a_refusal_says_what_was_answered(store: Blobs, tmp_path: Path) -> None:
    store.broken = 1
    async with http_client() as client:
        with pytest.raises(TransferError, match="503"):
            await download(client, store.sign("a").url, {}, digest=digest(b""), target=tmp_path / "target")
