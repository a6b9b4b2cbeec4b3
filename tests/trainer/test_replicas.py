"""Two trainers as processes over PostgreSQL: one that is stopped while it leads does no harm afterwards."""

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from bloomery.training.v1 import (
    JOB_KIND_TRAIN,
    JOB_STATE_CANCELLED,
    JOB_STATE_PENDING,
    CancelJobRequest,
    CreateJobRequest,
    GetJobRequest,
    Job,
    JobServiceStub,
    Resources,
)
from bloomery_kit.clients import channel
from real_parts.process import free_port
from tests.faults.processes import Server
from tests.recipe_files import texts
from tests.trainer.bench import HERE, TOKEN, World
from tests.trainer.neighbours import DATASET

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

JOBS = 40
# A worker that says where it was started, and then nothing.
SLEEPER = """#!/bin/sh
echo "$BLOOMERY_WORK_DIR" >>"{folder}/started"
exec sleep 600
"""


class Replica:
    """`python -m bloomery_trainer`."""

    def __init__(self, world: World, database_url: str) -> None:
        self.port, worker_port, self._metrics_port = free_port(), free_port(), free_port()
        sleeper = world.folder / "sleeper"
        sleeper.write_text(SLEEPER.format(folder=world.folder))
        sleeper.chmod(0o755)
        catalogue = world.folder / "catalogue.json"
        catalogue.write_text(json.dumps(texts(HERE / "recipes")))
        settings = {
            "DATABASE_URL": database_url,
            "TOKEN": TOKEN,
            "BIND": "127.0.0.1",
            "PORT": self.port,
            "WORKER_PORT": worker_port,
            "METRICS_PORT": self._metrics_port,
            "ANNOTATION_TARGET": world.neighbours,
            "DATASET_TARGET": world.neighbours,
            "LAUNCHER__JOBS_DIR": world.folder / "jobs",
            "LAUNCHER__CACHE_DIR": world.folder / "cache",
            "LAUNCHER__WORKER_PYTHON": sleeper,
            "LAUNCHER__MACHINE__CPUS": 1000,
            "LAUNCHER__MACHINE__MEMORY_BYTES": 1 << 40,
            "CATALOGUE": catalogue,
            "MIN_FREE_BYTES": 0,
            "POLICY__RECONCILE_INTERVAL": 0.2,
            "POLICY__LEASE_TERM": 2,
            "POLICY__LEASE_RENEW": 0.5,
            "POLICY__STOP_GRACE": 0.1,
            "OBJECT_STORE__KIND": "folder",
            "OBJECT_STORE__ROOT": world.folder / "blobs",
            "OBJECT_STORE__BASE_URL": "http://127.0.0.1:1",
            "OBJECT_STORE__SIGNING_KEY": "k" * 32,
        }
        environment = {**os.environ, **{f"BLOOMERY_{name}": str(value) for name, value in settings.items()}}
        log = world.folder / f"trainer-{self.port}.log"
        command = [sys.executable, "-m", "bloomery_trainer"]
        self.server = Server(command, environment, log, lambda: self.metric("bloomery_reconciler_leader") is not None)

    def metric(self, name: str) -> float | None:
        """A value of its metrics; None where it does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}", timeout=2) as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
            return float(found[1]) if found else None
        return None

    async def leads(self) -> bool:
        return await asyncio.to_thread(self.metric, "bloomery_reconciler_leader") == 1.0

    async def fenced(self) -> bool:
        return bool(await asyncio.to_thread(self.metric, "bloomery_reconciler_fenced_writes_total"))


@pytest.mark.timeout(180)
async def test_a_leader_that_was_stopped_beyond_its_lease_is_fenced(world: World, postgres_url: str) -> None:
    first, second = Replica(world, postgres_url), Replica(world, postgres_url)
    database = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))

    async def attempts() -> int:
        return int(await database.fetchval("SELECT count(*) FROM training.attempts"))

    async def takes_over() -> bool:
        return await second.leads() and await attempts() == JOBS

    try:
        await asyncio.to_thread(first.server.start)
        await until(first.leads)
        await asyncio.to_thread(second.server.start)
        async with channel(f"127.0.0.1:{second.port}", token=TOKEN) as people:
            jobs: JobServiceAsyncStub = JobServiceStub(people)
            # They wait until all are there, so that one pass has much to launch.
            world.datasets.down = True
            names = [await create(jobs) for _ in range(JOBS)]
            world.datasets.down = False
            await until(lambda: _above(attempts, 3))
            os.kill(first.server.pid, signal.SIGSTOP)
            assert await attempts() < JOBS
            await until(takes_over)
            os.kill(first.server.pid, signal.SIGCONT)
            await until(first.fenced)
            assert await second.leads()
            assert not await first.leads()
            found = [await jobs.GetJob(GetJobRequest(name=name)) for name in names]
            assert {job.attempt for job in found} == {1}
            started = Counter((world.folder / "started").read_text().splitlines())
            assert len(started) == JOBS
            assert set(started.values()) == {1}
            for name in names:
                await jobs.CancelJob(CancelJobRequest(name=name, force=True))
            await until(lambda: _all_cancelled(jobs, names))
    finally:
        await database.close()
        await asyncio.gather(asyncio.to_thread(first.server.end), asyncio.to_thread(second.server.end))


async def create(jobs: "JobServiceAsyncStub") -> str:
    job = Job(
        kind=JOB_KIND_TRAIN,
        recipe="recipes/scripted",
        dataset_version=DATASET,
        resources=Resources(cpus=1, memory_bytes=1),
    )
    created = await jobs.CreateJob(CreateJobRequest(parent="projects/cells", job=job), wait_for_ready=True)
    assert created.state == JOB_STATE_PENDING
    return created.name


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.01)


async def _above(count: Callable[[], Awaitable[int]], limit: int) -> bool:
    return await count() > limit


async def _all_cancelled(jobs: "JobServiceAsyncStub", names: list[str]) -> bool:
    found = [await jobs.GetJob(GetJobRequest(name=name)) for name in names]
    return all(job.state == JOB_STATE_CANCELLED for job in found)
