"""All services in one process, without workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bloomery_server.embedded import EmbeddedServer
from bloomery_server.folder import DataFolder


@asynccontextmanager
async def embedded(root: Path, triton: Path | None = None) -> AsyncIterator[EmbeddedServer]:
    """All services on a data folder."""
    folder = DataFolder.open(root)
    server = EmbeddedServer(folder, folder.identity(port=0), stop_jobs=False, on_ready=lambda: None, triton=triton)
    try:
        await server.start()
        yield server
    finally:
        await server.drain()
        await server.close()
        folder.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with embedded(tmp_path / "data") as server:
        yield server
