"""The loops of every service, found by asking them: none ends of an error, none asks in vain, an ended one shows."""

import ast
import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bloomery_inference.agent.app import AgentApp
from bloomery_inference.agent.settings import AgentSettings
from bloomery_kit.auth import OwnerToken
from bloomery_kit.errors import Unavailable
from bloomery_kit.loops import FAILURES, Loops, Work
from bloomery_kit.server import ServerOptions, ServiceHost
from bloomery_kit.service import App
from bloomery_server.beside import AGENT, TRITON
from bloomery_server.embedded import EmbeddedServer
from tests.access import test_passes as access
from tests.annotation import test_passes as annotation
from tests.dataset import test_passes as dataset
from tests.inference import test_passes as inference
from tests.passes import ForeignError
from tests.server.conftest import embedded, serving
from tests.trainer import test_passes as trainer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> list[Loops]:
    """The loops of this process, found as they are made."""
    made: list[Loops] = []
    begin = Loops.__init__

    def noted(self: Loops) -> None:
        begin(self)
        made.append(self)

    monkeypatch.setattr(Loops, "__init__", noted)
    return made


@asynccontextmanager
async def up(folder: Path) -> AsyncIterator[tuple[list[App], list[ServiceHost]]]:
    """`bloomery up --triton`, with a program beside it of which no more is asked than not to end."""
    program = folder / "tritonserver"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    async with embedded(folder / "data", program) as server:
        yield server.apps, [server._host, server._worker_host]


@asynccontextmanager
async def agent(folder: Path) -> AsyncIterator[tuple[list[App], list[ServiceHost]]]:
    """The agent of a Triton server, which reaches nobody."""
    nobody = dict.fromkeys(("inference_target", "triton_target", "endpoint"), "127.0.0.1:1")
    settings = AgentSettings(**nobody, token=SecretStr("secret"), repository=folder)  # type: ignore[arg-type]
    host = ServiceHost(ServerOptions(bind="127.0.0.1", port=0), authenticator=OwnerToken("secret"))
    app = await AgentApp.open(settings)
    app.register(host)
    await host.start()
    await app.start()
    yield [app], [host]
    await host.stop()
    await app.close()


@pytest.fixture
def tried_again(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[str]:
    """The names of loops whose first turn met an error, as each turn after it begins."""
    begun: asyncio.Queue[str] = asyncio.Queue()
    add = Loops.add

    def add_failing(self: Loops, name: str, work: Work, pause: float | Work) -> None:
        failed = False

        async def fail_first() -> None:
            nonlocal failed
            if not failed:
                failed = True
                raise ForeignError
            begun.put_nowait(name)
            await work()

        add(self, name, fail_first, pause)

    monkeypatch.setattr(Loops, "add", add_failing)
    monkeypatch.setattr("bloomery_kit.loops._FIRST_BACKOFF", 0.01)
    return begun


@pytest.mark.parametrize("program", [up, agent])
async def test_no_loop_of_any_program_ends_of_an_error_that_nobody_expected(
    tried_again: asyncio.Queue[str],
    everywhere: list[Loops],
    tmp_path: Path,
    program: Callable[[Path], AbstractAsyncContextManager[object]],
) -> None:
    async with program(tmp_path):
        assert all(loops.names for loops in everywhere)
        waited_for = {name for loops in everywhere for name in loops.names}
        async with asyncio.timeout(50):
            while waited_for:
                waited_for.discard(await tried_again.get())
        for loops in everywhere:
            loops.check_ready()
            assert all(FAILURES.labels(name)._value.get() for name in loops.names)


WITHOUT_ITEMS = {
    "event loop lag": "one number",
    "access housekeeping": "one statement",
    "credentials": "of files; tests/kit/test_rotating.py tries several",
    "access audit": "one batch",
    "annotation audit": "one batch",
    "dataset audit": "one batch",
    "inference audit": "one batch",
    "trainer audit": "one batch",
    "event-feed": "one look for all who wait",
    "lease": "the one of the leader",
    "inference comparisons": "one case a turn",
    "replica plan": "one plan",
    "replica reports": "one report",
    "news": "one watch",
    TRITON: "one program",
    AGENT: "one program",
    "health": "of one check; tests/kit/test_server.py tries several",
}


async def test_of_every_pass_with_items_a_test_throws_in_the_work_on_one(
    everywhere: list[Loops], tmp_path: Path
) -> None:
    async with up(tmp_path), agent(tmp_path):
        names = {name for loops in everywhere for name in loops.names}
    tried = {name for area in (access, annotation, dataset, trainer, inference) for name in area.WORKS}
    assert names == tried | WITHOUT_ITEMS.keys()


async def test_a_loop_that_has_ended_shows_in_the_health_of_its_service(tmp_path: Path) -> None:
    async with up(tmp_path) as (apps, hosts):
        services = await serving(hosts)
        for app in apps:
            for name in app.loops.names:
                await app.loops.close(name)
            still = await serving(hosts)
            assert still < services, f"nothing tells that {app.loops.names} ended"
            services = still
        assert not services


async def test_a_loop_of_the_agent_that_has_ended_is_why_it_is_not_ready(tmp_path: Path) -> None:
    async with agent(tmp_path) as ([app], [host]):
        for name in app.loops.names:
            await app.loops.close(name)
            with pytest.raises(Unavailable, match=f"{name} ended"):
                await next(filter(None, host._checks.values()))()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, float]]:
    """What tasks and callbacks set timers, and for how many seconds."""
    found: set[tuple[str, float]] = set()
    call_at = asyncio.BaseEventLoop.call_at

    def noted(self: asyncio.BaseEventLoop, when: float, callback: Any, *args: Any, **named: Any) -> asyncio.TimerHandle:
        task = asyncio.current_task(self)
        found.add((task.get_name() if task else str(callback), round(when - self.time(), 1)))
        return call_at(self, when, callback, *args, **named)

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_at", noted)
    return found


async def test_an_idle_server_only_waits(timers: set[tuple[str, float]], server: EmbeddedServer) -> None:
    assert server.apps
    async with asyncio.timeout(50):
        while await woken(0.6) - {"MainThread"}:
            pass
    here = asyncio.current_task()
    assert here is not None
    assert {(name, seconds) for name, seconds in timers if seconds < 4 and name != here.get_name()} == set()


async def woken(seconds: float) -> set[str]:
    """The names of the threads that did not sleep all the time."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    before = {number: sleeps(number) for number in names if number is not None}
    await asyncio.sleep(seconds)
    return {names[number] for number, count in before.items() if sleeps(number) != count}


def sleeps(thread: int) -> int:
    """How often a thread of this process has gone to sleep; -1 where it has ended."""
    try:
        lines = Path(f"/proc/self/task/{thread}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    (count,) = (line.split()[1] for line in lines if line.startswith("voluntary_ctxt_switches:"))
    return int(count)


BESIDE_LOOPS = {
    "libs/kit/src/bloomery_kit/loops.py": "here they are made",
    "libs/kit/src/bloomery_kit/callers.py": "a question about a caller, which calls wait for or ask again",
    "libs/kit/src/bloomery_kit/tasks.py": "ends with the call that needs it",
    "libs/kit/src/bloomery_kit/feeds.py": "ends with the wait that it is part of",
    "libs/kit/src/bloomery_kit/database.py": "a connection is given back also when whoever had it is cancelled",
    "libs/kit/src/bloomery_kit/metrics.py": "the library's own server, which is stopped with ours",
    "libs/kit/src/bloomery_kit/quotas.py": "a question about a project, which calls wait for",
    "libs/kit/src/bloomery_kit/server.py": "a drain, which the process waits for; doubt, which its loop renews",
    "libs/kit/src/bloomery_kit/tracing.py": "notes the end of a call, with which it ends",
    "libs/kit/src/bloomery_kit/trusting.py": "a channel that is left to its last calls, which closing ends",
    "libs/kit/src/bloomery_kit/uploads.py": "what a thread writes, waited for also when the caller is cancelled",
    "services/annotation/src/bloomery_annotation/importer/run.py": "reads the next batch while one is saved",
    "services/annotation/src/bloomery_annotation/importer/source.py": "reads ahead for a thread that waits for it",
    "services/annotation/src/bloomery_annotation/sweep.py": "deletions, which the sweep waits for",
    "services/dataset/src/bloomery_dataset/annotations.py": "the next message of a stream, which its reader waits for",
    "services/dataset/src/bloomery_dataset/export.py": "an export, which its callers wait for or ask for again",
    "services/gateway/src/bloomery_gateway/app.py": "the library's own server, which has its loop inside",
    "services/inference/src/bloomery_inference/streaming.py": "frames of a stream, which its call waits for",
    "services/trainer/worker/src/bloomery_worker/inputs.py": "transfers, which the attempt waits for",
    "services/trainer/worker/src/bloomery_worker/loops.py": "here the worker's are made",
    "services/trainer/worker/src/bloomery_worker/tasks.py": "ends with the block that needs it",
    "services/trainer/worker/src/bloomery_worker/trainer_main.py": "listens to the supervisor while the trainer works",
}
STARTERS = {"create_task", "ensure_future", "TaskGroup", "Thread", "run_coroutine_threadsafe"}


def test_nothing_runs_in_the_background_but_loops_and_what_somebody_waits_for() -> None:
    found = set()
    for folder in ("libs", "services", "server"):
        for path in (ROOT / folder).glob("**/src/**/*.py"):
            calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
            names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
            if names & STARTERS:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == BESIDE_LOOPS.keys()
