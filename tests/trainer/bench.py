"""A whole trainer on free ports, with small neighbours and a real gateway for blobs; a test can stop and reopen it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status
from pydantic import SecretStr

from bloomery.annotation.v1 import add_AnnotationServiceServicer_to_server
from bloomery.dataset.v1 import add_DatasetServiceServicer_to_server
from bloomery.training.v1 import (
    JOB_KIND_TRAIN,
    CreateJobRequest,
    GetJobRequest,
    Job,
    JobServiceStub,
    JobState,
    WatchJobRequest,
    WatchJobResponse,
    WorkerServiceStub,
)
from bloomery_gateway.app import GatewayApp
from bloomery_gateway.settings import GatewaySettings
from bloomery_kit.auth import OwnerToken, service_token
from bloomery_kit.clients import channel
from bloomery_kit.errors import error_info
from bloomery_kit.loops import Loops
from bloomery_kit.server import ServerOptions, ServiceHost, options_from
from bloomery_kit.settings import FolderStoreSettings
from bloomery_trainer.app import TrainerApp
from bloomery_trainer.core import Core
from bloomery_trainer.feed import LOOP
from bloomery_trainer.launcher import Launcher
from bloomery_trainer.settings import Machine, Policy, ProcessLauncherSettings, TrainerSettings
from tests import databases
from tests.recipe_files import texts
from tests.trainer.neighbours import DATASET, Annotation, Datasets

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub
    from bloomery.training.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

TOKEN = "owner-token"
AS_SERVICE = (("authorization", f"Bearer {service_token(TOKEN)}"),)
"""Metadata of a call that another service makes."""
HERE = Path(__file__).parent
QUICK = Policy(
    reconcile_interval=0.1,
    lease_term=2.0,
    lease_renew=0.2,
    cancel_grace=60.0,
    pause_grace=60.0,
    exit_grace=60.0,
    stop_grace=0.5,
    retry_delay=0.05,
)


@dataclass
class World:
    """What outlives a trainer: its folder, its neighbours, and the blobs' gateway."""

    folder: Path
    annotation: Annotation
    datasets: Datasets
    neighbours: str
    gateway: int
    address: str = "127.0.0.1"
    """Where workers find this machine."""

    def settings(self, **changes: Any) -> TrainerSettings:
        python = self.folder / "worker-python"
        if not python.exists():
            # The launcher runs `python -P -m bloomery_worker`; this one runs the scripted worker instead.
            worker = f'exec "{sys.executable}" "{HERE / "scripted_worker.py"}" "$@"'
            python.write_text(f"#!/bin/sh\n{worker}\n")
            python.chmod(0o755)
            (self.folder / "catalogue.json").write_text(json.dumps(texts(HERE / "recipes")))
        values: dict[str, Any] = {
            "database_url": databases.sqlite_url("trainer", self.folder / "training.db"),
            "object_store": FolderStoreSettings(
                root=self.folder / "blobs",
                base_url=f"http://{self.address}:{self.gateway}",
                signing_key=SecretStr("k" * 32),
            ),
            "token": TOKEN,
            "annotation_target": self.neighbours,
            "dataset_target": self.neighbours,
            "launcher": self.launcher(),
            "catalogue": self.folder / "catalogue.json",
            "policy": QUICK,
            "report_interval": 0.1,
            "min_free_bytes": 0,
            "watch_poll": 0.05,
        }
        return TrainerSettings(**values | changes)

    def launcher(self, **changes: Any) -> ProcessLauncherSettings:
        """Workers of this folder on a small machine."""
        values: dict[str, Any] = {
            "jobs_dir": self.folder / "jobs",
            "cache_dir": self.folder / "cache",
            "worker_python": self.folder / "worker-python",
            "machine": Machine(cpus=2, memory_bytes=1 << 30, gpus=0),
        }
        return ProcessLauncherSettings(**values | changes)


@asynccontextmanager
async def running_world(folder: Path, *, address: str = "127.0.0.1") -> AsyncIterator[World]:
    """Neighbours and gateway for trainers whose data lie in `folder`; workers find this machine at `address`."""
    host = ServiceHost(ServerOptions(drain_wait=0), authenticator=OwnerToken(TOKEN))
    datasets = Datasets()  # type: ignore[abstract]
    annotation = Annotation()  # type: ignore[abstract]
    host.add(add_AnnotationServiceServicer_to_server, annotation, "bloomery.annotation.v1.AnnotationService")
    host.add(add_DatasetServiceServicer_to_server, datasets, "bloomery.dataset.v1.DatasetService")
    await host.start()
    store = FolderStoreSettings(root=folder / "blobs", base_url="http://127.0.0.1:1", signing_key=SecretStr("k" * 32))
    gateway = await GatewayApp.open(
        GatewaySettings(object_store=store, bind=address, http_port=0), draining=asyncio.Event()
    )
    await gateway.start()
    try:
        yield World(folder, annotation, datasets, f"127.0.0.1:{host.port}", gateway.port, address)
    finally:
        await gateway.close()
        await host.drain(0)


@dataclass
class Trainer:
    """A running trainer and clients of it."""

    world: World
    app: TrainerApp
    host: ServiceHost
    worker_host: ServiceHost
    jobs: JobServiceAsyncStub
    workers: WorkerServiceAsyncStub

    async def create(self, script: str = "finish", *, job_id: str = "", request_id: str = "", **fields: Any) -> Job:
        """A TRAIN job of the scripted recipe; parameters by name, other fields of Job by theirs."""
        parameters = {"script": script} | fields.pop("parameters", {})
        job = Job(kind=JOB_KIND_TRAIN, recipe="recipes/scripted", dataset_version=DATASET, **fields)
        job.parameters.update(parameters)
        request = CreateJobRequest(parent="projects/cells", job_id=job_id, job=job, request_id=request_id)
        return await self.jobs.CreateJob(request)

    async def get(self, name: str) -> Job:
        return await self.jobs.GetJob(GetJobRequest(name=name))

    async def reaches(self, name: str, *states: JobState.ValueType, seconds: float = 30.0) -> Job:
        """Wait until a job is in one of the states."""
        return await self.until(name, lambda job: job.state in states, seconds=seconds)

    async def until(self, name: str, holds: Callable[[Job], bool], *, seconds: float = 30.0) -> Job:
        """Wait until something holds of a job."""
        deadline = time.monotonic() + seconds
        while not holds(job := await self.get(name)):
            assert time.monotonic() < deadline, f"{JobState.Name(job.state)}: {job.reason}"
            await asyncio.sleep(0.05)
        return job

    async def watch(self, name: str, after: int | None = None) -> list[WatchJobResponse]:
        """All messages of one watch, which ends within seconds: with the job, whose end is near, or a drain."""
        request = WatchJobRequest(name=name, after_sequence=after)
        return [message async for message in self.jobs.WatchJob(request, timeout=10)]


@asynccontextmanager
async def running_trainer(
    world: World,
    *,
    launcher: Launcher | None = None,
    reconcile: bool = True,
    port: int = 0,
    worker_port: int = 0,
    **settings: Any,
) -> AsyncIterator[Trainer]:
    """A trainer; without `reconcile` nothing moves by itself."""
    authenticator = OwnerToken(TOKEN)
    host = ServiceHost(ServerOptions(drain_wait=0, port=port), authenticator=authenticator)
    configured = world.settings(**settings)
    worker_options = replace(options_from(configured), bind=configured.worker_bind, drain_wait=0, port=worker_port)
    worker_host = ServiceHost(worker_options, authenticator=authenticator)
    app = await TrainerApp.open(configured, draining=host.draining, launcher=launcher)
    app.register(host)
    app.register_worker(worker_host)
    await worker_host.start()
    await host.start()
    if reconcile:
        await app.start()
    async with (
        channel(f"127.0.0.1:{host.port}", token=TOKEN) as people,
        channel(f"{configured.worker_bind}:{worker_host.port}") as workers,
    ):
        try:
            yield Trainer(world, app, host, worker_host, JobServiceStub(people), WorkerServiceStub(workers))
        finally:
            await asyncio.gather(host.drain(0), worker_host.drain(0))
            await app.close()


@asynccontextmanager
async def feeding(core: Core) -> AsyncIterator[None]:
    """The event feed of a trainer in which nothing else moves by itself."""
    loops = Loops()
    loops.add(LOOP, core.feed.turn, 0.0)
    loops.start()
    try:
        yield
    finally:
        await loops.close()


async def failure(call: Awaitable[Any]) -> status_pb2.Status:
    """The rich status of a call that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return rpc_status.from_call(error)  # type: ignore[arg-type, no-any-return]
    raise AssertionError(f"the call did not fail: {answer}")


async def reason_of(call: Awaitable[Any]) -> str:
    """The reason of a call that must fail."""
    return error_info(await failure(call)).reason
