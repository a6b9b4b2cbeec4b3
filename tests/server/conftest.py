"""All services in one process, without workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bloomery_kit.clients import channel
from bloomery_kit.server import ServiceHost
from bloomery_server.embedded import EmbeddedServer
from bloomery_server.folder import DataFolder


@asynccontextmanager
async def embedded(
    root: Path, triton: Path | None = None, troubles: list[str] | None = None
) -> AsyncIterator[EmbeddedServer]:
    """All services on a data folder; what it says of the programs beside it goes to `troubles`."""
    folder = DataFolder.open(root)
    server = EmbeddedServer(
        folder,
        folder.identity(port=0),
        stop_jobs=False,
        on_ready=lambda: None,
        on_trouble=(troubles if troubles is not None else []).append,
        triton=triton,
    )
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


async def serving(hosts: list[ServiceHost]) -> set[str]:
    """The services that these call SERVING now."""
    found = set()
    for host in hosts:
        await host._check_all()
        async with channel(f"127.0.0.1:{host.port}") as on:
            for service in host._checks:
                stub: Any = health_pb2_grpc.HealthStub(on)
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    found.add(service)
    return found
