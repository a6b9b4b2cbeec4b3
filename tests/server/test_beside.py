"""A Triton server and its agent run beside the server, come back when they end, and end with it."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from bloomery_inference.app import InferenceApp
from bloomery_inference.serving.model import Replica
from bloomery_inference.store import replicas
from bloomery_server.embedded import EmbeddedServer
from real_parts.triton import triton_program
from tests.server.conftest import embedded

pytestmark = pytest.mark.real_server("triton")


async def told(server: EmbeddedServer, holds: Callable[[Sequence[Replica]], bool]) -> Replica:
    """What the replica of the Triton server has told, once that holds."""
    (app,) = (app for app in server.apps if isinstance(app, InferenceApp))
    async with asyncio.timeout(60):
        while True:
            async with app._db.read() as tx:
                found = await replicas.of_runtime(tx, "triton", 60.0)
            if holds(found):
                return found[0]
            await asyncio.sleep(0.05)


async def test_a_triton_server_and_its_agent_come_back_when_they_end_and_end_with_the_server(tmp_path: Path) -> None:
    program = await asyncio.to_thread(triton_program, tmp_path)
    async with embedded(tmp_path / "data", program) as server:
        assert server.beside is not None
        triton, agent = server.beside.programs
        first = await told(server, lambda found: bool(found))
        assert (first.id, first.endpoint) == ("triton", f"127.0.0.1:{server._identity.triton_port}")
        for each in (triton, agent):
            before = each.pid
            assert before is not None
            psutil.Process(before).send_signal(signal.SIGKILL)
            async with asyncio.timeout(30):
                while each.pid in (None, before):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        await told(server, lambda found: found[0].incarnation != first.incarnation)
        pids = [triton.pid, agent.pid]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
