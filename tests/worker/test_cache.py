"""The cache that workers share, and how it is filled."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from bloomery_worker.blobs import http_client
from bloomery_worker.cache import BlobCache
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import DiskFullError, classify
from bloomery_worker.inputs import RESERVE_BYTES, SLICE, Inputs, Wanted
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


def test_eviction_spares_what_another_process_has_pinned(cache: BlobCache) -> None:
    pinned, other = keep(cache, b"pinned", age=9000), keep(cache, b"other", age=8000)
    with_job = BlobCache(cache.root)
    with_job.pin([digest(b"pinned")])
    assert cache.evict(0) == len(b"other")
    assert (pinned.exists(), other.exists()) == (True, False)
    with_job.close()
    assert cache.evict(0) == len(b"pinned")
    assert not pinned.exists()


def test_what_is_pinned_before_it_is_here_stays_once_it_is(cache: BlobCache) -> None:
    with_job = BlobCache(cache.root)
    with_job.pin([digest(b"first")])
    with_job.pin([digest(b"later")])
    keep(cache, b"first", age=9000)
    keep(cache, b"later", age=9000)
    assert cache.evict(0) == 0
    with_job.close()


PINNING = """
import sys
from pathlib import Path
from bloomery_worker.cache import BlobCache
cache = BlobCache(Path(sys.argv[1]))
cache.pin([sys.argv[2]])
print("pinned", flush=True)
sys.stdin.read()
"""


def test_a_process_that_is_killed_holds_nothing(cache: BlobCache) -> None:
    path = keep(cache, b"pinned", age=9000)
    command = [sys.executable, "-P", "-c", PINNING, str(cache.root), digest(b"pinned")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"pinned\n"
        assert cache.evict(0) == 0
        process.send_signal(signal.SIGKILL)
    assert cache.evict(0) == len(b"pinned")
    assert not path.exists()
    assert list((cache.root / "in-use").iterdir()) == []


def test_room_is_made_by_what_was_not_used_for_longest(cache: BlobCache) -> None:
    older, old = keep(cache, b"1" * 100, age=9000), keep(cache, b"2" * 100, age=8000)
    assert cache.make_room(50) == 100
    assert (older.exists(), old.exists()) == (False, True)


@pytest.fixture
async def service() -> AsyncIterator[tuple[WorkerClient, httpx.AsyncClient]]:
    """One that is not there: nothing can be fetched."""
    client = WorkerClient("127.0.0.1:1")
    async with http_client() as http:
        yield client, http
    await client.close()


@pytest.fixture
def inputs(cache: BlobCache, service: tuple[WorkerClient, httpx.AsyncClient]) -> Iterator[Inputs]:
    yield Inputs(cache, *service)
    cache.close()


def wanted(content: bytes, *, size: int | None = None) -> Wanted:
    return Wanted("a.jpg", digest(content), len(content) if size is None else size, "p0/a")


async def test_what_is_here_already_is_pinned_too(cache: BlobCache, inputs: Inputs) -> None:
    path = keep(cache, b"here")
    await inputs.all([wanted(b"here")])
    os.utime(path, (0, 0))
    assert BlobCache(cache.root).evict(0) == 0


async def test_inputs_beyond_the_disk_say_so_before_the_first_is_fetched(cache: BlobCache, inputs: Inputs) -> None:
    keep(cache, b"here")
    disk = shutil.disk_usage(cache.root)
    for size, retriable in ((disk.free, True), (disk.total, False)):
        with pytest.raises(DiskFullError, match=r"1 of 2 inputs are still to be fetched") as refused:
            await inputs.all([wanted(b"here"), wanted(b"missing", size=size)])
        reason = classify(refused.value)
        assert (reason.code, reason.retriable) == ("DISK_FULL", retriable)
        assert f"with {size / 2**30:.1f} GiB they do not fit" in reason.message


async def test_a_full_disk_is_cleared_of_what_nobody_uses(
    cache: BlobCache, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = keep(cache, b"x" * 1000, age=9000)
    full = shutil.disk_usage(cache.root)._replace(free=RESERVE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DiskFullError):
        await inputs.all([wanted(b"missing", size=1001)])
    assert not unused.exists()


async def test_the_disk_is_asked_beside_the_event_loop_and_in_slices(
    tmp_path: Path, service: tuple[WorkerClient, httpx.AsyncClient]
) -> None:
    asked: list[int] = []
    loop, began = asyncio.get_running_loop(), asyncio.Event()

    class Watched(BlobCache):
        def has(self, digest: str, size: int) -> bool:
            asked.append(threading.get_ident())
            loop.call_soon_threadsafe(began.set)
            return True

    cache = Watched(tmp_path)
    many = [wanted(bytes([n % 256, n // 256])) for n in range(10 * SLICE)]
    looking = asyncio.create_task(Inputs(cache, *service).all(many))
    await began.wait()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    cache.close()
    assert threading.get_ident() not in asked
    assert len(asked) <= 2 * SLICE
