"""A file that travels in parts: clients and servers are killed meanwhile, connections break, two bring the same one."""

import asyncio
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from bloomery._transfer import Transfer
from tests.faults.sites import ROOT
from tests.imports.contents import contents, images_of
from tests.imports.site import Site

SEED = 20261129
SIZE = (3600, 3200)
PARTS = {offset << 20 for offset in (0, 8, 16, 24, 32)}
"""Where those of the image begin."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 33 MiB."""
    folder = tmp_path_factory.mktemp("large")
    pixels = random.Random(SEED).randbytes(3 * SIZE[0] * SIZE[1])
    Image.frombytes("RGB", SIZE, pixels).save(folder / "large.png", compress_level=0)
    return folder


class Target:
    """A new project."""

    def __init__(self, site: Site, name: str, uid: str) -> None:
        self.site, self.name, self.uid = site, name, uid

    def staged(self) -> set[int]:
        """Where the parts begin that have arrived."""
        found = (self.site.data / "blobs" / self.uid / "staging").glob("*.*-*")
        return {int(path.name.partition(".")[2].partition("-")[0]) for path in found}

    def until_parts_arrive(self, alive: Callable[[], bool]) -> None:
        while not self.staged() and alive():
            time.sleep(0.001)

    async def take(self, folder: Path) -> None:
        """Import the folder by a client of this process."""
        async with self.site.client() as client:
            await (await client.project(self.name)).import_folder(folder)

    async def holds(self, folder: Path) -> bool:
        """Whether the image is there, and nothing else is left."""
        async with self.site.client() as client:
            found = (await contents(await client.project(self.name))).images
        assert [(image.path, image.digest) for image in found] == images_of(folder)
        assert (found[0].width, found[0].height) == SIZE
        assert not self.staged()
        assert not self.site.damaged()
        return True


@pytest.fixture
async def target(site: Site) -> Target:
    name = f"large-{uuid.uuid4().hex[:12]}"
    async with site.client() as client:
        return Target(site, name, (await client.create_project(name)).proto.uid)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the parts begin that clients of this process send."""
    offsets: list[int] = []
    real = Transfer.put

    async def put(transfer: Transfer, *given: Any, offset: int = 0, **options: Any) -> None:
        offsets.append(offset)
        await real(transfer, *given, offset=offset, **options)

    monkeypatch.setattr(Transfer, "put", put)
    return offsets


def kill_a_client(target: Target, folder: Path) -> None:
    """Let `bloomery import` begin, and kill it when some parts have arrived."""
    environment = {**os.environ, "BLOOMERY_DATA": str(target.site.data), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.imports.command", "import", str(folder), "--project", target.name]
    with subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as client:
        target.until_parts_arrive(lambda: client.poll() is None)
        client.kill()


async def test_what_a_killed_client_has_sent_is_not_sent_again(target: Target, folder: Path, sent: list[int]) -> None:
    await asyncio.to_thread(kill_a_client, target, folder)
    there = target.staged()
    assert there
    await target.take(folder)
    assert set(sent) <= PARTS - there
    assert len(sent) < len(PARTS)
    assert await target.holds(folder)


async def test_a_client_goes_on_with_a_server_that_was_killed(target: Target, folder: Path) -> None:
    client = asyncio.create_task(target.take(folder))
    await asyncio.to_thread(target.until_parts_arrive, lambda: not client.done())
    target.site.server.kill()
    target.site.server.begin()
    await asyncio.to_thread(target.site.server.wait_until_ready)
    await client
    assert await target.holds(folder)


async def test_parts_that_change_or_are_cut_off_on_their_way_are_sent_again(
    target: Target, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = ["", "changed", "broken", "broken"]
    real = httpx.AsyncClient.put

    async def put(client: httpx.AsyncClient, url: str, *, content: AsyncIterator[bytes], **options: Any) -> Any:
        body = b"".join([piece async for piece in content])
        return await real(client, url, content=carried(body, faults.pop() if faults else ""), **options)

    async def carried(body: bytes, fault: str) -> AsyncIterator[bytes]:
        if fault == "broken":
            yield body[:1000]
            raise httpx.WriteError("the connection broke")
        yield body[:-1] + bytes([body[-1] ^ 1]) if fault else body

    monkeypatch.setattr(httpx.AsyncClient, "put", put)
    await target.take(folder)
    assert not faults
    assert await target.holds(folder)


async def test_two_clients_that_bring_one_file_at_once_leave_it_once(target: Target, folder: Path) -> None:
    await asyncio.gather(*(target.take(folder) for _ in range(2)))
    assert await target.holds(folder)
