"""Transfers are called off at any moment, and nothing of them stays behind."""

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from bloomery import errors
from bloomery._address import Address
from bloomery._files import File, digest_of
from bloomery._session import Session
from bloomery.common.v1 import SignedRequest
from tests.sdk.blobs import DROP, Blobs
from tests.sdk.conftest import QUICK

CONNECTIONS = 3
MOMENTS = 60
"""More turns of the event loop than a request to a server on this machine has."""


@asynccontextmanager
async def connected() -> AsyncIterator[Session]:
    """A client that has few connections; nobody is at the other end of its channel."""
    session = Session(Address("127.0.0.1:1"), timeouts=QUICK, transfers=CONNECTIONS)
    try:
        yield session
    finally:
        await session.close()


@contextmanager
def nothing_left() -> Iterator[None]:
    """Nothing open is left to the garbage collector."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert not [str(one.message) for one in told]


async def call_off(work: Coroutine[Any, Any, object], turns: int, times: int = 1) -> None:
    """Cancel work after so many turns of the event loop, so many times, and wait for its end."""
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])
    assert task.cancelled() or not task.exception()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "sent"
    path.write_bytes(b"some bytes")
    return File(path, digest_of(path), path.stat().st_size)


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A socket that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_on_which_nothing_is_answered_is_closed_at_once(
    mute: socket.socket, file: File, scheme: str, times: int
) -> None:
    request = SignedRequest(url=f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/key")

    async def leave() -> None:
        async with connected() as session:
            sending = asyncio.create_task(session.transfer.put(file, request))
            accepted, _ = await asyncio.to_thread(mute.accept)
            with accepted:
                accepted.settimeout(10)
                # Whoever has begun to talk waits for an answer now.
                await asyncio.to_thread(accepted.recv, 1)
                await call_off(asyncio.wait_for(sending, None), 1, times)
                while await asyncio.to_thread(accepted.recv, 1 << 16):
                    pass

    with nothing_left():
        asyncio.run(leave())


def test_connections_that_the_server_has_dropped_are_all_closed(blobs: Blobs, file: File) -> None:
    async def leave(turns: int) -> None:
        async with connected() as session:
            puts = [session.transfer.put(file, blobs.signed(f"{n}")) for n in range(CONNECTIONS)]
            await asyncio.gather(*puts)
            blobs.drop_connections()
            await call_off(session.transfer.put(file, blobs.signed("more")), turns)

    with nothing_left():
        for turns in range(12):
            asyncio.run(leave(turns))


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("faults", [[], [DROP]], ids=["answered", "cut off"])
async def test_a_client_whose_transfers_are_called_off_at_any_moment_keeps_all_its_connections(
    blobs: Blobs, file: File, tmp_path: Path, times: int, faults: list[int]
) -> None:
    key = blobs.keep(file.path.read_bytes())
    async with connected() as session:
        for turns in range(MOMENTS):
            blobs.faults.extend(faults)
            await call_off(session.transfer.put(file, blobs.signed("key")), turns, times)
            await call_off(session.transfer.get(blobs.signed(key), tmp_path / "got", key), turns, times)
            (tmp_path / "got").unlink(missing_ok=True)
        blobs.faults.clear()
        async with asyncio.timeout(10):
            await asyncio.gather(*(session.transfer.put(file, blobs.signed(f"{n}")) for n in range(CONNECTIONS)))
    assert names(tmp_path) == ["sent"]


async def test_whoever_is_called_off_while_a_file_is_opened_leaves_none(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    opened = Path.open

    def slowly(path: Path, mode: str = "r") -> BinaryIO:
        if path.suffix == ".part":
            begun.set()
            go.wait(10)
        return opened(path, mode)  # type: ignore[return-value]

    monkeypatch.setattr(Path, "open", slowly)
    key = blobs.keep(b"some bytes")
    with nothing_left():
        async with connected() as session:
            getting = asyncio.create_task(session.transfer.get(blobs.signed(key), tmp_path / "got", key))
            await asyncio.to_thread(begun.wait, 10)
            getting.cancel()
            await asyncio.sleep(0)
            go.set()
            await asyncio.wait([getting])
        assert getting.cancelled()
        del getting
    assert not names(tmp_path)


async def test_a_client_that_is_closed_breaks_off_what_is_under_way(mute: socket.socket, file: File) -> None:
    request = SignedRequest(url=f"http://127.0.0.1:{mute.getsockname()[1]}/key")
    with nothing_left():
        async with connected() as session:
            sending = asyncio.create_task(session.transfer.put(file, request))
            accepted, _ = await asyncio.to_thread(mute.accept)
        accepted.close()
        with pytest.raises(errors.ClientClosed):
            await sending
        with pytest.raises(errors.ClientClosed):
            await session.transfer.put(file, request)
        del sending


async def test_a_client_that_is_called_off_while_it_closes_is_closed_all_the_same(blobs: Blobs, file: File) -> None:
    with nothing_left():
        for turns in range(1, 12):
            session = Session(Address("127.0.0.1:1"), timeouts=QUICK, transfers=CONNECTIONS)
            await asyncio.gather(*(session.transfer.put(file, blobs.signed(f"{n}")) for n in range(CONNECTIONS)))
            await call_off(session.close(), turns)
            del session
