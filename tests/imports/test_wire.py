"""Imports over bad ways: bytes change or are cut off, connections break, calls come twice."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest

from bloomery._session import Session
from bloomery.annotation.v1 import UploadBlobsRequest
from bloomery.errors import InvalidArgument
from tests.imports.rounds import look
from tests.imports.site import Site, Undisturbed
from tests.imports.wire import Cut, cutting_proxy

SEED = 20261129
Send = Callable[[UploadBlobsRequest], Awaitable[Any]]
Meddle = Callable[[Send, UploadBlobsRequest], Awaitable[Any]]


def between(monkeypatch: pytest.MonkeyPatch, meddle: Meddle) -> None:
    """Let something else do what is sent in a call."""
    real: Any = Session.call

    async def call(session: Session, method: Any, request: Any, **options: Any) -> Any:
        send = partial(real, session, method, **options)
        return await (meddle(send, request) if isinstance(request, UploadBlobsRequest) else send(request))

    monkeypatch.setattr(Session, "call", call)


def between_puts(monkeypatch: pytest.MonkeyPatch, meddle: Callable[[bytes], AsyncIterator[bytes]]) -> None:
    """Let something else be the body of what is sent by a request of its own."""
    real = httpx.AsyncClient.put

    async def put(client: httpx.AsyncClient, url: str, *, content: AsyncIterator[bytes], **options: Any) -> Any:
        body = b"".join([part async for part in content])
        return await real(client, url, content=meddle(body), **options)

    monkeypatch.setattr(httpx.AsyncClient, "put", put)


def changed(data: bytes) -> bytes:
    """As many bytes, of which the last is another one."""
    return data[:-1] + bytes([data[-1] ^ 1])


async def import_into(site: Site, undisturbed: Undisturbed, name: str, endpoint: str = "") -> None:
    async with site.client(endpoint) as client:
        await (await client.project(name)).import_folder(undisturbed.folder)


async def holds_all(site: Site, undisturbed: Undisturbed, name: str) -> bool:
    async with site.client() as client:
        problems = [*await look(client, name, undisturbed), *site.damaged()]
    assert not problems
    return True


@pytest.fixture
async def name(site: Site) -> str:
    """A new project."""
    wanted = f"wire-{uuid.uuid4().hex[:12]}"
    async with site.client() as client:
        await client.create_project(wanted)
    return wanted


def lying(times: int) -> Meddle:
    """Change a byte in each of the first calls."""
    left = [times]

    async def meddle(send: Send, request: UploadBlobsRequest) -> Any:
        if left[0]:
            left[0] -= 1
            request.blobs[0].content = changed(request.blobs[0].content)
        return await send(request)

    return meddle


async def test_a_bundle_with_changed_bytes_is_sent_again(
    site: Site, undisturbed: Undisturbed, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(monkeypatch, lying(2))
    await import_into(site, undisturbed, name)
    assert await holds_all(site, undisturbed, name)


async def test_bundles_whose_bytes_always_change_are_refused_until_they_do_not(
    site: Site, undisturbed: Undisturbed, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        between(patched, lying(1 << 30))
        with pytest.raises(InvalidArgument) as caught:
            await import_into(site, undisturbed, name)
        assert caught.value.reason == "DIGEST_MISMATCH"
    await import_into(site, undisturbed, name)
    assert await holds_all(site, undisturbed, name)


async def test_files_that_change_or_are_cut_off_on_their_own_way_are_sent_again(
    site: Site, undisturbed: Undisturbed, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(SEED)
    faults = ["changed", "broken", "broken"]

    async def meddle(body: bytes) -> AsyncIterator[bytes]:
        match faults.pop() if faults else "":
            case "changed":
                yield changed(body)
            case "broken":
                yield body[: dice.randrange(len(body))]
                raise httpx.WriteError("the connection broke")
            case _:
                yield body

    between_puts(monkeypatch, meddle)
    await import_into(site, undisturbed, name)
    assert not faults
    assert await holds_all(site, undisturbed, name)


async def test_connections_that_break_anywhere_cost_nothing(site: Site, undisturbed: Undisturbed, name: str) -> None:
    dice = random.Random(SEED)
    cuts = [Cut(there=dice.randrange(200_000)) for _ in range(5)] + [Cut(back=dice.randrange(1_000)) for _ in range(3)]
    dice.shuffle(cuts)
    port = int(site.address[0].rpartition(":")[2])
    left = iter(cuts)
    async with cutting_proxy(port, left) as proxied:
        await import_into(site, undisturbed, name, f"127.0.0.1:{proxied}")
    assert next(left, None) is None
    assert await holds_all(site, undisturbed, name)


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "at once"])
async def test_bundles_that_come_twice_are_kept_once(
    site: Site, undisturbed: Undisturbed, name: str, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    async def meddle(send: Send, request: UploadBlobsRequest) -> Any:
        if at_once:
            return (await asyncio.gather(send(request), send(request)))[1]
        await send(request)
        return await send(request)

    between(monkeypatch, meddle)
    await import_into(site, undisturbed, name)
    assert await holds_all(site, undisturbed, name)


async def test_two_clients_that_import_the_same_folder_at_once_fill_the_project_once(
    site: Site, undisturbed: Undisturbed, name: str
) -> None:
    await asyncio.gather(*(import_into(site, undisturbed, name) for _ in range(2)))
    assert await holds_all(site, undisturbed, name)
