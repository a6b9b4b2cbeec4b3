"""The agent as a program beside a real Triton, and the replica inside the service, on the plans of a real service."""

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bloomery_inference.agent.app import OWN
from bloomery_inference.runtime import TritonRuntime
from bloomery_inference.serving.model import LoadState, Replica
from bloomery_inference.store import replicas
from real_parts.triton import TritonServer
from tests.inference.agent_programs import Agent, plan, ready_variant, reported
from tests.inference.agents import good_model, other_model
from tests.inference.asking import until
from tests.inference.conftest import Service
from tests.inference.dying_agent import STEPS

READY, FAILED = LoadState.READY, LoadState.FAILED
# A program takes a second to start, more on a busy machine, and these start several, one after the other.
pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("gateway")]
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def triton(triton: TritonServer) -> Iterator[TritonServer]:
    """The Triton server that tests share, without what an agent of another database has kept for it."""
    yield triton
    shutil.rmtree(triton.repository / OWN)


def applies(generation: int) -> Callable[[Sequence[Replica]], bool]:
    """Whether the only replica has applied this plan, or one after it: rollouts may make the same plan anew."""
    return lambda found: len(found) == 1 and found[0].observed >= generation


async def test_the_replica_inside_the_service_loads_what_is_deployed(service: Service, tmp_path: Path) -> None:
    whole = await ready_variant(service, good_model(tmp_path))
    broken = await ready_variant(service, other_model(tmp_path, b"no model"), model="broken")
    generation = await plan(service, "onnxruntime", whole, broken)
    (replica,) = await reported(service, "onnxruntime", applies(generation))
    (good,) = [uid for uid in (whole.variants[0].uid,) if replica.has(uid, READY)]
    failed = replica.model(broken.variants[0].uid)
    assert failed is not None
    assert failed.state is FAILED
    assert "Protobuf parsing failed" in failed.reason
    assert good in await service.app._runtime.loaded()
    generation = await plan(service, "onnxruntime")
    (replica,) = await reported(service, "onnxruntime", applies(generation))
    assert replica.models == ()


@SQLITE
async def test_an_agent_loads_what_is_deployed_and_serves_where_nobody_can_be_asked(
    service: Service, triton: TritonServer, tmp_path: Path
) -> None:
    version = await ready_variant(service, good_model(tmp_path))
    uid = version.variants[0].uid
    generation = await plan(service, "triton", version)
    with Agent(service.target, triton, tmp_path / "agent.log") as agent:
        (replica,) = await reported(service, "triton", lambda found: any(one.has(uid, READY) for one in found))
        assert (replica.id, replica.endpoint) == ("first", triton.grpc_url)
        await reported(service, "triton", applies(generation))
        agent.kill()
        async with AsyncExitStack() as stack:
            runtime = TritonRuntime(triton.grpc_url, triton.repository)
            stack.push_async_callback(runtime.close)
            # As after a restart of both, while the inference service is away.
            await runtime.unload(uid)
            agent.target = "127.0.0.1:1"
            agent.start()
            await until(runtime.loaded, lambda loaded: uid in loaded)
            agent.kill()
            await runtime.unload(uid)


@SQLITE
async def test_an_agent_that_is_killed_at_any_step_leaves_nothing_and_goes_on(
    service: Service, triton: TritonServer, tmp_path: Path
) -> None:
    version = await ready_variant(service, good_model(tmp_path))
    uid = version.variants[0].uid
    await plan(service, "triton", version)
    agent = Agent(service.target, triton, tmp_path / "agent.log")
    foreign = triton.repository / ".somebody"
    foreign.mkdir()
    for step in STEPS:
        agent.start("-m", "tests.inference.dying_agent", step)
        assert await asyncio.to_thread(agent.wait) == -signal.SIGKILL, step
        async with service.app._db.read() as tx:
            assert not any(one.has(uid, READY) for one in await replicas.of_runtime(tx, "triton", 60.0)), step
    with agent:
        (replica,) = await reported(service, "triton", lambda found: any(one.has(uid, READY) for one in found))
        assert [model.uid for model in replica.models] == [uid]
        assert {path.name for path in triton.repository.iterdir()} == {uid, OWN, foreign.name}
        assert {path.name for path in (triton.repository / OWN / "models").iterdir()} == {uid}
        await plan(service, "triton")
        await reported(service, "triton", lambda found: not found[0].models)
    assert {path.name for path in triton.repository.iterdir()} == {OWN, foreign.name}
    foreign.rmdir()
