"""Three Triton servers with their agents under load: versions change, servers come and end, and nobody notices."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bloomery.inference.v1 import Deployment, PredictRequest, PredictResponse
from bloomery_inference.agent.app import HEALTH
from bloomery_inference.serving.model import LoadState, Replica
from bloomery_server.triton import triton_command
from real_parts.process import free_port
from real_parts.triton import TritonServer, triton_program
from tests import databases
from tests.faults.processes import Server, answers
from tests.inference.agent_programs import Agent, reported
from tests.inference.agents import other_model
from tests.inference.asking import PETS, recorded
from tests.inference.conftest import Service
from tests.inference.deploying import NAME, V1, V2, V3, create, get, update
from tests.inference.models import one_box, write_model
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import white

DATABASES = databases.SQLITE

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.real_server("triton"),
    pytest.mark.usefixtures("gateway"),
]
COUNT = 3
DOG, CAT = [0.1, 0.9], [0.9, 0.1]


@dataclass
class Member:
    """A Triton server and its agent."""

    triton: Server
    agent: Agent
    health_port: int

    def begin(self) -> None:
        self.triton.begin()
        self.agent.start()

    async def becomes(self, wanted: int) -> float:
        """Wait until the health of the pod that they would be is that; how long it took in seconds."""
        began = time.monotonic()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.health_port}") as channel, asyncio.timeout(120):
            stub: Any = HealthStub(channel)
            while (await stub.Check(HealthCheckRequest(service=HEALTH))).status != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return time.monotonic() - began

    def end(self) -> None:
        self.agent.kill()
        self.triton.end()


@pytest.fixture
def limits() -> dict[str, int]:
    return {"running_predictions": 4, "waiting_predictions": 64}


@asynccontextmanager
async def fleet(service: Service, folder: Path) -> AsyncIterator[list[Member]]:
    """All but the last of them run."""
    program = await asyncio.to_thread(triton_program, folder)
    members = []
    for number in range(COUNT):
        place = folder / f"replica-{number}"
        place.mkdir()
        port, health_port = free_port(), free_port()
        target = f"127.0.0.1:{port}"
        command = triton_command(program, place, port)
        server = Server(command, os.environ, folder / f"triton-{number}.log", partial(answers, target))
        agent = Agent(
            service.target,
            TritonServer(target, "", place),
            folder / f"agent-{number}.log",
            id=f"replica-{number}",
            settings={"BLOOMERY_PROBE_INTERVAL": "1", "BLOOMERY_PORT": str(health_port)},
        )
        members.append(Member(server, agent, health_port))
    try:
        for member in members[:-1]:
            member.begin()
        yield members
    finally:
        for member in members:
            await asyncio.to_thread(member.end)


@dataclass
class Load:
    """Predictions, one after the other in several tasks: what was seen, by which replica, and what failed."""

    service: Service
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    replicas: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, tasks: int = 3) -> AsyncIterator[None]:
        stop = asyncio.Event()
        asking = [asyncio.create_task(self._ask(stop)) for _ in range(tasks)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*asking)

    async def _ask(self, stop: asyncio.Event) -> None:
        request = PredictRequest(deployment=NAME, image=white(64, 64))
        while not stop.is_set():
            try:
                answer: PredictResponse = await self.service.predictions.Predict(request)
            except grpc.aio.AioRpcError as error:
                # On a busy machine it may be too much for the service, which says when to come again.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self.failures.append(f"{error.code()}: {error.details()}")
                await asyncio.sleep(0.1)
            else:
                self.seen[answer.model_version, answer.shapes[0].label] += 1
                self.replicas[answer.replica] += 1

    async def more(self, count: int = 20) -> None:
        """Wait until so many more were answered."""
        wanted = sum(self.seen.values()) + count
        async with asyncio.timeout(120):
            while sum(self.seen.values()) < wanted and not self.failures:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def add_version(service: Service, number: int, directory: Path) -> str:
    """Record a version whose variant has these files; the variant's uid."""
    with (directory / "config.pbtxt").open("a") as config:
        config.write("instance_group [{ kind: KIND_CPU count: 1 }]")
    item = with_facts(trained(number))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    return (await recorded(service, f"{PETS}/versions/{number}")).variants[0].uid


async def test_versions_change_and_servers_come_and_end_without_a_request_that_fails(
    service: Service, tmp_path: Path
) -> None:
    first = await add_version(service, 1, write_model(tmp_path / "1", one_box(16, 16, 8, 4, DOG), side=32))
    second = await add_version(service, 2, write_model(tmp_path / "2", one_box(16, 16, 8, 4, CAT), side=32))
    await add_version(service, 3, other_model(tmp_path, b"no model"))
    load = Load(service)
    async with fleet(service, tmp_path) as members:
        await reported(service, "triton", lambda found: len(found) == COUNT - 1)
        await create(service)
        await everywhere(service, first, count=COUNT - 1)
        await settled(service, Deployment.STATE_READY)
        async with load.running():
            await load.more()
            began = time.monotonic()
            await update(service, model_version=V2)
            members[-1].begin()
            await everywhere(service, second)
            await settled(service, Deployment.STATE_READY)
            print(f"a version and a replica came at once: all {COUNT} had it after {time.monotonic() - began:.1f} s")
            await load.more()
            assert set(load.seen) == {(V1, "dog"), (V2, "cat")}
            assert len(load.replicas) == COUNT

            await update(service, model_version=V3)
            failed = await settled(service, Deployment.STATE_FAILED)
            assert "Protobuf parsing failed" in failed.reason
            await load.more()

            before = await of(service, "replica-0")
            members[0].triton.kill()
            unready = await members[0].becomes(HealthCheckResponse.NOT_SERVING)
            print(f"a pod whose server was killed is not ready after {unready:.1f} s")
            await load.more(40)
            began = time.monotonic()
            members[0].triton.begin()
            async with asyncio.timeout(120):
                while (again := await of(service, "replica-0")).incarnation == before.incarnation:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await everywhere(service, second)
            await members[0].becomes(HealthCheckResponse.SERVING)
            print(f"a server that was killed had everything again {time.monotonic() - began:.1f} s after its start")
            await load.more(40)
        print(f"{len(load.failures)} of {sum(load.seen.values())} predictions failed; by replica {dict(load.replicas)}")
        assert load.failures == []
        assert set(load.seen) == {(V1, "dog"), (V2, "cat")}
        assert again.endpoint == before.endpoint


async def everywhere(service: Service, uid: str, *, count: int = COUNT) -> None:
    """Wait until every replica has loaded a model."""
    await reported(service, "triton", lambda found: [one.has(uid, LoadState.READY) for one in found] == [True] * count)


async def settled(service: Service, wanted: Deployment.State.ValueType) -> Deployment:
    """The deployment once it is in a state, however busy the machine is."""
    async with asyncio.timeout(120):
        while (found := await get(service)).state != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def of(service: Service, replica: str) -> Replica:
    (found,) = [one for one in await reported(service, "triton", bool) if one.id == replica]
    return found
