"""On a full disk what frees room can be deleted."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bloomery.annotation.v1 import AnnotationServiceStub, CreateProjectRequest, DeleteProjectRequest
from bloomery_kit.clients import channel
from bloomery_kit.objects import FolderObjectStore
from bloomery_server import folder
from bloomery_server.embedded import EmbeddedServer
from real_parts.disk import Filler
from tests.server.conftest import embedded


@pytest.fixture
async def server(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedServer]:
    monkeypatch.setattr(folder, "_JOURNAL_BYTES", 1 << 20)
    (small_disk / "data/foreign.db").mkdir(parents=True)
    async with embedded(small_disk / "data") as server:
        yield server


async def test_a_project_can_be_deleted_on_a_full_disk_and_its_bytes_go(
    server: EmbeddedServer, small_disk: Path, filler: Filler
) -> None:
    identity = server._identity
    async with channel(f"127.0.0.1:{identity.port}", token=identity.token) as on:
        annotations = AnnotationServiceStub(on)
        project = await annotations.CreateProject(CreateProjectRequest(project_id="p"))
        blobs = FolderObjectStore(small_disk / "data/blobs", base_url="http://x", signing_key=b"k" * 32)
        key = f"{project.uid}/{'0' * 64}"
        await blobs.put(key, bytes(1 << 20))
        await asyncio.to_thread(filler.fill)
        await annotations.DeleteProject(DeleteProjectRequest(name=project.name))
        async with asyncio.timeout(20):
            while await blobs.stat(key):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


def test_a_server_that_has_no_room_to_start_says_what_to_do(small_disk: Path, filler: Filler) -> None:
    filler.fill()
    # For a database, and not for what lies beside it.
    os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - (50 << 10))
    command = [str(Path(sys.executable).parent / "bloomery"), "up", "--data", str(small_disk / "data")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30)
    first, hint, *rest = told.stderr.splitlines()
    assert (told.returncode, rest) == (1, [])
    assert first.endswith("the database has no space left; free some and repeat")
    assert hint.startswith("hint: free some space; what lies in cache/ there is not needed while no job runs")
