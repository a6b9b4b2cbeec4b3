"""A running dataset service beside a running annotation service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import grpc
import sqlalchemy as sa
from google.rpc import status_pb2
from grpc_status import rpc_status
from pydantic import SecretStr

from bloomery.annotation.v1 import AnnotationServiceStub, add_AnnotationServiceServicer_to_server
from bloomery.dataset.v1 import (
    CreateDatasetVersionRequest,
    DatasetItem,
    DatasetServiceStub,
    DatasetSpec,
    DatasetVersion,
    GetDatasetVersionRequest,
    ListDatasetItemsRequest,
    SplitPolicy,
    WatchDatasetVersionRequest,
)
from bloomery.vision.v1 import TaskType
from bloomery_dataset.annotations import Annotations
from bloomery_dataset.app import MIGRATIONS, SCHEMA, DatasetApp
from bloomery_dataset.build import Sources
from bloomery_dataset.builder import Builder
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.shards import ShardCache
from bloomery_dataset.store.tables import LEASES
from bloomery_kit.auth import OwnerToken, service_token
from bloomery_kit.clients import channel
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from bloomery_kit.feeds import Notifier
from bloomery_kit.migrations import migrate
from bloomery_kit.objects import FolderObjectStore, ObjectStore
from bloomery_kit.server import ServerOptions, ServiceHost
from bloomery_kit.settings import FolderStoreSettings
from bloomery_kit.times import Clock, utc_now
from bloomery_vision.geometry import Box, Polygon, Shape
from bloomery_vision.manifest import ManifestIndex, ManifestRow, read_shard
from bloomery_vision.manifest_hash import content_hash
from tests.dataset.annotations import PROJECT, UID, FakeAnnotations

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub

TOKEN = "owner-token"
AS_SERVICE = (("authorization", f"Bearer {service_token(TOKEN)}"),)
"""Metadata of a call that another service makes."""
PARENT = f"projects/{PROJECT}"
DATASET = f"{PARENT}/datasets/cells-v"
SIGNING_KEY = "k" * 32
LEASE = 30.0
DETECT = DatasetSpec(
    task=TaskType.TASK_TYPE_DETECT,
    split=SplitPolicy(method=SplitPolicy.METHOD_RATIO, train_percent=70, val_percent=20, test_percent=10, seed=7),
)
TRIANGLE = Polygon(((10.0, 10.0), (30.0, 10.0), (30.0, 50.0)))


class Crash(BaseException):
    """The process is gone: nothing that would tidy up runs."""


def box(label: str = "rbc", x: float = 1.0) -> Shape:
    return Shape(Box(x, 2, 30, 40), label)


def store_at(folder: Path) -> FolderObjectStore:
    return FolderObjectStore(folder, base_url="http://127.0.0.1:1", signing_key=SIGNING_KEY.encode())


def settings_for(folder: Path, database_url: str, annotation_target: str) -> DatasetSettings:
    return DatasetSettings(
        database_url=database_url,
        object_store=FolderStoreSettings(
            root=folder / "blobs", base_url="http://127.0.0.1:1", signing_key=SecretStr(SIGNING_KEY)
        ),
        token=SecretStr(TOKEN),
        annotation_target=annotation_target,
        cache_dir=folder / f"cache-{uuid4().hex}",
    )


@asynccontextmanager
async def hosting(add: object, servicer: object, name: str) -> AsyncIterator[str]:
    """Serve one servicer; the address."""
    host = ServiceHost(ServerOptions(drain_wait=0), authenticator=OwnerToken(TOKEN))
    host.add(add, servicer, name)  # type: ignore[arg-type]
    yield f"127.0.0.1:{await host.start()}"
    await host.drain(0)


@asynccontextmanager
async def annotating(fake: FakeAnnotations) -> AsyncIterator[str]:
    """Serve the fake; its address."""
    async with hosting(
        add_AnnotationServiceServicer_to_server, fake, "bloomery.annotation.v1.AnnotationService"
    ) as address:
        yield address


@dataclass
class Service:
    """A running dataset service and a client of it."""

    app: DatasetApp
    host: ServiceHost
    stub: "DatasetServiceAsyncStub"

    async def create(
        self, spec: DatasetSpec = DETECT, *, request_id: str = "", parent: str = DATASET
    ) -> DatasetVersion:
        version = DatasetVersion(spec=spec)
        return await self.stub.CreateDatasetVersion(
            CreateDatasetVersionRequest(
                parent=parent, dataset_version=version, allow_missing_dataset=True, request_id=request_id
            )
        )

    async def get(self, name: str) -> DatasetVersion:
        return await self.stub.GetDatasetVersion(GetDatasetVersionRequest(name=name))

    async def finish(self, name: str) -> DatasetVersion:
        """Watch a version to its end."""
        last = None
        async for state in self.stub.WatchDatasetVersion(WatchDatasetVersionRequest(name=name)):
            last = state
        assert last is not None
        assert last.state != DatasetVersion.STATE_BUILDING
        return last

    async def build(self, spec: DatasetSpec = DETECT) -> DatasetVersion:
        return await self.finish((await self.create(spec)).name)


@asynccontextmanager
async def serving(settings: DatasetSettings, *, start: bool = True) -> AsyncIterator[Service]:
    """Run the service; without `start` nothing is built."""
    host = ServiceHost(ServerOptions(drain_wait=0), authenticator=OwnerToken(TOKEN))
    app = await DatasetApp.open(settings, draining=host.draining)
    app.register(host)
    if start:
        await app.start()
    address = f"127.0.0.1:{await host.start()}"
    try:
        async with channel(address, token=TOKEN) as owner:
            yield Service(app, host, DatasetServiceStub(owner))
    finally:
        await host.drain(0)
        await app.close()


@asynccontextmanager
async def building(
    folder: Path,
    database_url: str,
    annotation_target: str,
    *,
    lease: float = LEASE,
    objects: ObjectStore | None = None,
) -> AsyncIterator[Builder]:
    """A builder as another replica has it, with connections of its own, which does nothing by itself."""
    db = Database.connect(database_url, SCHEMA)
    await migrate(db, MIGRATIONS)
    scratch = folder / f"scratch-{uuid4().hex}"
    scratch.mkdir()
    async with channel(annotation_target, token=service_token(TOKEN)) as owner:
        stub: AnnotationServiceAsyncStub = AnnotationServiceStub(owner)
        store = objects or store_at(folder / "blobs")
        sources = Sources(Annotations(stub, sleep=_briefly), store, ShardCache(store, scratch, limit=0))
        yield Builder(db, sources, changed=Notifier(), folder=scratch, lease=lease)
    await db.close()


@asynccontextmanager
async def housekeeping(
    folder: Path, database_url: str, annotation_target: str, *, clock: Clock = utc_now
) -> AsyncIterator[Housekeeper]:
    """A housekeeper as another replica has it, which does nothing by itself."""
    db = Database.connect(database_url, SCHEMA)
    await migrate(db, MIGRATIONS)
    async with channel(annotation_target, token=service_token(TOKEN)) as owner:
        stub: AnnotationServiceAsyncStub = AnnotationServiceStub(owner)
        yield Housekeeper(db, Annotations(stub), store_at(folder / "blobs"), clock=clock)
    await db.close()


async def let_leases_run_out(database_url: str) -> None:
    """Let the time of every lease, and of every rest, be over."""
    db = Database.connect(database_url, SCHEMA)
    async with db.write() as tx:
        await tx.execute(sa.update(LEASES).values(expires=0.0))
    await db.close()


async def listed(service: Service, name: str, **fields: object) -> tuple[list[DatasetItem], list[int], int]:
    """All pages: the items, the sizes of the pages, and the total."""
    request = ListDatasetItemsRequest(parent=name, **fields)  # type: ignore[arg-type]
    items: list[DatasetItem] = []
    sizes: list[int] = []
    while True:
        page = await service.stub.ListDatasetItems(request)
        items += page.items
        sizes.append(len(page.items))
        request.page_token = page.next_page_token
        if not request.page_token:
            return items, sizes, page.total_size


async def rows_of(version: DatasetVersion, blobs: Path) -> list[ManifestRow]:
    """All rows as a worker reads them; every digest and count of the index is checked."""
    store = store_at(blobs)
    assert await store.digest(version.manifest.logical_key) == (version.manifest.digest, version.manifest.size_bytes)
    index = ManifestIndex.from_json(await store.get(version.manifest.logical_key))
    rows: list[ManifestRow] = []
    for shard in index.shards:
        assert await store.digest(shard.logical_key) == (shard.digest, shard.size_bytes)
        found = list(read_shard(await store.get(shard.logical_key), index.classes))
        assert len(found) == shard.rows
        rows += found
    assert content_hash(rows, task=index.task, classes=index.classes) == index.content_hash == version.content_hash
    assert (index.project_uid, index.read_sequence) == (UID, version.read_sequence)
    return rows


def fill(fake: FakeAnnotations, count: int = 20) -> None:
    for number in range(count):
        fake.add(number, [box("rbc", number), box("wbc")])


async def complete(service: Service, name: str, blobs: Path, count: int = 20) -> DatasetVersion:
    version = await service.get(name)
    assert version.state == DatasetVersion.STATE_READY
    rows = await rows_of(version, blobs)
    assert len(rows) == len({row.asset for row in rows}) == count
    assert all(len(row.shapes) == 2 for row in rows)
    return version


async def failure(call: Awaitable[object]) -> status_pb2.Status:
    """The rich status of a call that must fail."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return cast("status_pb2.Status", rpc_status.from_call(error))  # type: ignore[arg-type]
    raise AssertionError("the call did not fail")


def has(status: status_pb2.Status, code: grpc.StatusCode, reason: str) -> None:
    assert (status.code, error_info(status).reason) == (code.value[0], reason), status


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never became true")


async def _briefly(_seconds: float) -> None:
    await asyncio.sleep(0)
