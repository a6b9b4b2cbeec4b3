"""The inference service on a real server and both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from pydantic import SecretStr

from bloomery.annotation.v1 import add_AnnotationServiceServicer_to_server
from bloomery.dataset.v1 import add_DatasetServiceServicer_to_server
from bloomery.inference.v1 import (
    DeploymentServiceStub,
    ModelServiceStub,
    PredictionServiceStub,
    ServingServiceStub,
)
from bloomery.training.v1 import add_JobServiceServicer_to_server
from bloomery_gateway.app import GatewayApp
from bloomery_gateway.settings import GatewaySettings
from bloomery_inference.app import InferenceApp
from bloomery_inference.settings import InferenceSettings, OnnxSettings, RuntimeSettings
from bloomery_kit.auth import OwnerToken, service_token
from bloomery_kit.clients import channel
from bloomery_kit.objects import FolderObjectStore
from bloomery_kit.server import ServerOptions, ServiceHost
from bloomery_kit.settings import FolderStoreSettings
from real_parts.postgres import PostgresServer
from real_parts.process import free_port
from tests import databases
from tests.inference.neighbours import Datasets, Projects, Trainer

if TYPE_CHECKING:
    from bloomery.inference.v1.deployment_service_pb2_grpc import DeploymentServiceAsyncStub
    from bloomery.inference.v1.model_service_pb2_grpc import ModelServiceAsyncStub
    from bloomery.inference.v1.prediction_service_pb2_grpc import PredictionServiceAsyncStub
    from bloomery.inference.v1.serving_service_pb2_grpc import ServingServiceAsyncStub

TOKEN = "owner"
KEY = "k" * 32


@dataclass(frozen=True)
class Service:
    """The running service, its stubs, its neighbours and its object store."""

    app: InferenceApp
    models: ModelServiceAsyncStub
    predictions: PredictionServiceAsyncStub
    deployments: DeploymentServiceAsyncStub
    serving: ServingServiceAsyncStub
    trainer: Trainer
    datasets: Datasets
    projects: Projects
    objects: FolderObjectStore
    target: str
    settings: InferenceSettings


@pytest.fixture
async def migrated_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    async with databases.postgres_url("inference", postgres_server) as url:
        yield url


@pytest.fixture(params=databases.BOTH)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test is done on both databases, or on those that its file names as `DATABASES`."""
    given = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "database_url" in metafunc.fixturenames and "database_url" not in given:
        chosen = getattr(metafunc.module, "DATABASES", databases.BOTH)
        metafunc.parametrize("database_url", chosen, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return databases.sqlite_url("inference", tmp_path / "inference.db")
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@asynccontextmanager
async def neighbours(trainer: Trainer, datasets: Datasets, projects: Projects) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_JobServiceServicer_to_server(trainer, server)
    add_DatasetServiceServicer_to_server(datasets, server)
    add_AnnotationServiceServicer_to_server(projects, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@asynccontextmanager
async def serving(settings: InferenceSettings) -> AsyncIterator[tuple[InferenceApp, int]]:
    host = ServiceHost(ServerOptions(drain_wait=0, drain_grace=0), authenticator=OwnerToken(TOKEN))
    app = await InferenceApp.open(settings, draining=host.draining)
    app.register(host)
    port = await host.start()
    await app.start()
    try:
        yield app, port
    finally:
        await host.drain()
        await app.close()


@pytest.fixture
def runtime_settings() -> RuntimeSettings:
    return OnnxSettings(threads=1)


@pytest.fixture
def limits() -> dict[str, int]:
    """How much the service does at once."""
    return {"running_predictions": 1, "waiting_predictions": 1}


@pytest.fixture
def store(tmp_path: Path) -> FolderStoreSettings:
    """Where blobs lie, behind signed URLs that only a gateway serves."""
    base_url = f"http://127.0.0.1:{free_port()}"
    return FolderStoreSettings(root=tmp_path / "blobs", base_url=base_url, signing_key=SecretStr(KEY))


@pytest.fixture
async def gateway(store: FolderStoreSettings) -> AsyncIterator[GatewayApp]:
    """What serves the signed URLs of blobs."""
    settings = GatewaySettings(object_store=store, bind="127.0.0.1", http_port=int(store.base_url.rpartition(":")[2]))
    app = await GatewayApp.open(settings, draining=asyncio.Event())
    await app.start()
    yield app
    await app.close()


@pytest.fixture
async def service(
    database_url: str,
    tmp_path: Path,
    store: FolderStoreSettings,
    runtime_settings: RuntimeSettings,
    limits: dict[str, int],
) -> AsyncIterator[Service]:
    objects = await asyncio.to_thread(FolderObjectStore, store.root, base_url=store.base_url, signing_key=KEY.encode())
    trainer, datasets, projects = Trainer(), Datasets(), Projects()  # type: ignore[abstract]
    async with neighbours(trainer, datasets, projects) as target:
        settings = InferenceSettings(
            database_url=database_url,
            object_store=store,
            token=SecretStr(TOKEN),
            annotation_target=target,
            dataset_target=target,
            trainer_target=target,
            cache_dir=tmp_path / "cache",
            runtime=runtime_settings,
            tidy_interval=0.2,
            pending_interval=0.05,
            plan_poll=0.1,
            results_retry=0.05,
            rollout_interval=0.05,
            drain_seconds=0.2,
            **limits,  # type: ignore[arg-type]
        )
        async with (
            serving(settings) as (app, port),
            channel(f"127.0.0.1:{port}", token=TOKEN) as person,
            channel(f"127.0.0.1:{port}", token=service_token(TOKEN)) as agent,
        ):
            yield Service(
                app,
                ModelServiceStub(person),
                PredictionServiceStub(person),
                DeploymentServiceStub(person),
                ServingServiceStub(agent),
                trainer,
                datasets,
                projects,
                objects,
                f"127.0.0.1:{port}",
                settings,
            )
