"""Transfers are called off at any moment, and nothing of them stays behind."""

import asyncio
import gc
import socket
import threading
import warnings
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from bloomery import errors
from bloomery._address import Address
from bloomery._archive import extract
from bloomery._files import File, digest_of
from bloomery._session import Session
from bloomery.common.v1 import SignedRequest
from tests.sdk.blobs import DROP, Blobs
from tests.sdk.conftest import QUICK

CONNECTIONS = 3


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each client would read all of this machine's, which takes a tenth of a second."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


def new_session() -> Session:
    """A client that has few connections and pauses for moments; nobody is at the other end of its channel."""
    return Session(Address("127.0.0.1:1"), timeouts=QUICK, transfers=CONNECTIONS, sleep=lambda _: asyncio.sleep(0.001))


@asynccontextmanager
async def connected() -> AsyncIterator[Session]:
    session = new_session()
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


async def call_off(work: Coroutine[Any, Any, object], moment: int, times: int = 1) -> bool:
    """Cancel work at a moment, so many times, and wait for its end; say whether it was over by then.

    A moment is before or behind one of the things that the event loop has to do: they are the same on any machine.
    """
    loop = asyncio.get_running_loop()
    thing, behind = divmod(moment, 2)
    things, call_soon, cancelled = count(), loop.call_soon, False

    def cancel(left: int = times) -> None:
        nonlocal cancelled
        cancelled = task.cancel() or cancelled
        if left > 1:
            call_soon(cancel, left - 1)

    def noted(*call: Any, **context: Any) -> asyncio.Handle:
        now = next(things) == thing
        if now and not behind:
            call_soon(cancel)
        handle = call_soon(*call, **context)
        if now and behind:
            call_soon(cancel)
        return handle

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "call_soon", noted)
        task = asyncio.create_task(work)
        await asyncio.wait([task])
    assert task.cancelled() or not task.exception()
    return not cancelled


async def moments(call_off: Callable[[int], Awaitable[bool]]) -> None:
    """Call something off at each moment that it has, until it is over by then."""
    async with asyncio.timeout(50):
        for moment in count(1):
            if await call_off(moment):
                assert moment > 8, "it was called off at hardly any moment"
                return


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "sent"
    path.write_bytes(b"some bytes")
    return File(path, digest_of(path), path.stat().st_size)


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A socket that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(50)
        yield server


@pytest.mark.parametrize(
    ("scheme", "said"),
    [("http", b""), ("https", b""), ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")],
    ids=["http", "https", "half an answer"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_on_which_nothing_is_answered_is_closed_at_once(
    mute: socket.socket, file: File, scheme: str, said: bytes, times: int
) -> None:
    request = SignedRequest(url=f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/key")

    async def leave() -> None:
        begun = asyncio.Event()

        async def note(_: httpx.Response) -> None:
            begun.set()

        async with connected() as session:
            session.transfer._http.event_hooks = {"response": [note]}
            sending = asyncio.create_task(session.transfer.put(file, request))
            accepted, _ = await asyncio.to_thread(mute.accept)
            with accepted:
                accepted.settimeout(50)
                # Whoever has begun to talk waits for an answer now.
                await asyncio.to_thread(accepted.recv, 1)
                await asyncio.to_thread(accepted.sendall, said)
                if said:
                    await asyncio.wait_for(begun.wait(), 10)
                await call_off(asyncio.wait_for(sending, None), 1, times)
                while await asyncio.to_thread(accepted.recv, 1 << 16):
                    pass

    with nothing_left():
        asyncio.run(leave())


def test_connections_that_the_server_has_dropped_are_all_closed(blobs: Blobs, file: File) -> None:
    async def leave(session: Session, moment: int) -> bool:
        await asyncio.gather(*(session.transfer.put(file, blobs.signed(f"{n}")) for n in range(CONNECTIONS)))
        blobs.drop_connections()
        return await call_off(session.transfer.put(file, blobs.signed("more")), moment)

    async def leave_at_each() -> None:
        async with connected() as session:
            await moments(partial(leave, session))

    with nothing_left():
        asyncio.run(leave_at_each())


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("faults", [[], [DROP]], ids=["answered", "cut off"])
async def test_a_client_whose_transfers_are_called_off_at_any_moment_keeps_all_its_connections(
    blobs: Blobs, file: File, tmp_path: Path, times: int, faults: list[int]
) -> None:
    key = blobs.keep(file.path.read_bytes())
    async with connected() as session:

        async def leave(transfer: Callable[[], Coroutine[Any, Any, object]], moment: int) -> bool:
            blobs.faults.clear()
            blobs.faults.extend(faults)
            (tmp_path / "got").unlink(missing_ok=True)
            return await call_off(transfer(), moment, times)

        await moments(partial(leave, lambda: session.transfer.put(file, blobs.signed("key"))))
        await moments(partial(leave, lambda: session.transfer.get(blobs.signed(key), tmp_path / "got", key)))
        async with asyncio.timeout(50):
            await asyncio.gather(*(session.transfer.put(file, blobs.signed(f"{n}")) for n in range(CONNECTIONS)))
    assert names(tmp_path) == ["got", "sent"]


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
            await asyncio.sleep(0.1)
            go.set()
            await asyncio.wait([getting])
        assert getting.cancelled()
        del getting
    assert not names(tmp_path)


async def test_whoever_is_called_off_while_a_zip_is_unpacked_waits_for_one_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = slow_reading(monkeypatch)
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.txt", b"0 1 1 1 1")
    extracting = asyncio.create_task(extract(tmp_path / "labels.zip", tmp_path / "out"))
    await asyncio.to_thread(begun.wait, 10)
    extracting.cancel()
    # It has to hear of that before the thread goes on.
    await asyncio.sleep(0.1)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await extracting
    assert names(tmp_path / "out") == ["0.txt"]


def slow_reading(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """What tells that a file of a zip is being read, and what lets it be."""
    begun, go = threading.Event(), threading.Event()
    opened = zipfile.ZipFile.open

    def slowly(archive: zipfile.ZipFile, *args: Any, **kwargs: Any) -> Any:
        if archive.mode == "r":
            begun.set()
            go.wait(10)
        return opened(archive, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", slowly)
    return begun, go


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
    async def leave(moment: int) -> bool:
        session = new_session()
        await asyncio.gather(*(session.transfer.put(file, blobs.signed(f"{n}")) for n in range(CONNECTIONS)))
        return await call_off(session.close(), moment)

    with nothing_left():
        await moments(leave)
