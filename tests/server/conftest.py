"""All services in one process, without workers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bloomery_server.embedded import EmbeddedServer
from bloomery_server.folder import DataFolder


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    folder = DataFolder.open(tmp_path / "data")
    server = EmbeddedServer(folder, folder.identity(port=0), stop_jobs=False, on_ready=lambda: None)
    try:
        await server.start()
        yield server
    finally:
        await server.drain()
        await server.close()
        folder.close()
