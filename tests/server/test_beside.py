"""A Triton server and its agent run beside the server, come back when they end, and end with it."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from bloomery.cli import app
from bloomery_inference.app import InferenceApp
from bloomery_inference.serving.model import Replica
from bloomery_inference.store import replicas
from bloomery_server.beside import HEALTH, TritonBeside
from bloomery_server.embedded import EmbeddedServer
from real_parts.triton import triton_program
from tests.server.conftest import embedded, serving

pytestmark = pytest.mark.real_server("triton")


async def told(server: EmbeddedServer, holds: Callable[[Sequence[Replica]], bool]) -> Replica:
    """What the replica of the Triton server has told, once that holds."""
    (inference,) = (each for each in server.apps if isinstance(each, InferenceApp))
    async with asyncio.timeout(60):
        while True:
            async with inference._db.read() as tx:
                found = await replicas.of_runtime(tx, "triton", 60.0)
            if holds(found):
                return found[0]
            await asyncio.sleep(0.05)


async def test_a_triton_server_and_its_agent_come_back_when_they_end_and_end_with_the_server(tmp_path: Path) -> None:
    program = await asyncio.to_thread(triton_program, tmp_path)
    async with embedded(tmp_path / "data", program) as server:
        (beside,) = (each for each in server.apps if isinstance(each, TritonBeside))
        triton, agent = beside.programs
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


def test_what_is_no_program_is_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for path in (tmp_path, tmp_path / "missing", Path(__file__)):
        result = CliRunner().invoke(app, ["up", "--data", str(folder), "--triton", str(path)])
        assert result.exit_code == 4
        assert f"--triton names {path}, which is no program\nhint: give the path of tritonserver" in result.stderr
    assert not folder.exists()


async def test_a_server_that_does_not_start_is_tried_again_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\necho no licence to run\nexit 3\n")
    program.chmod(0o755)
    root, why = tmp_path / "data", "triton ended with 3: no licence to run"
    troubles: list[str] = []
    async with embedded(root, program, troubles) as server:
        async with asyncio.timeout(60):
            while HEALTH in await serving([server._host]) or told_of(caplog, why) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert [one for one in troubles if why in one] == [f"{why} (in {root / 'triton' / 'triton.log'})"]
    assert (root / "triton" / "triton.log").read_text().startswith("no licence to run\nno licence to run\n")


def told_of(caplog: pytest.LogCaptureFixture, why: str) -> int:
    """How often a loop has told of it."""
    return sum(why in str(vars(record).get("error")) for record in caplog.records if record.name == "bloomery.loops")
