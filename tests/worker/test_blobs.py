"""The cache that workers share, and transfers that are checked."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bloomery_worker.blobs import BlobCache, WrongBytesError, digest_of, download, http_client, upload
from bloomery_worker.failures import TransferError
from tests.worker.fake_trainer import Blobs
from tests.worker.sample_data import digest

NOW = 1_000_000.0


def keep(cache: BlobCache, content: bytes, *, age: float = 0.0) -> Path:
    part = cache.new_file(digest(content))
    part.write_bytes(content)
    path = cache.keep(part, digest(content))
    os.utime(path, (NOW - age, NOW - age))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path, clock=lambda: NOW)


def test_eviction_takes_the_longest_unused_first_and_stops_at_the_limit(cache: BlobCache) -> None:
    old, older, new = (keep(cache, bytes([n]) * 100, age=age) for n, age in ((1, 8000), (2, 9000), (3, 7000)))
    assert cache.evict(200) == 100
    assert [path.exists() for path in (old, older, new)] == [True, False, True]


def test_eviction_spares_what_was_used_within_the_hour(cache: BlobCache) -> None:
    path = keep(cache, b"x" * 100, age=60)
    assert cache.evict(0) == 0
    assert path.exists()


def test_a_file_of_another_size_is_not_taken_for_the_blob(cache: BlobCache) -> None:
    keep(cache, b"whole").write_bytes(b"torn")
    assert not cache.has(digest(b"whole"), 5)
    assert not cache.has(digest(b"other"), 5)


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
        await upload(client, url, {}, source)
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
