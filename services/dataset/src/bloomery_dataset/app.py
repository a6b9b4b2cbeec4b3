"""Wiring of the dataset service, the same in a process of its own and in the embedded server."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Self

import grpc

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import add_DatasetServiceServicer_to_server
from bloomery_dataset.annotations import Annotations
from bloomery_dataset.build import Sources
from bloomery_dataset.builder import Builder
from bloomery_dataset.catalog import Catalog
from bloomery_dataset.export import Exporter
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.items import Items
from bloomery_dataset.service import DatasetServicer
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.shards import ShardCache
from bloomery_dataset.signing import Signer
from bloomery_dataset.store import builds
from bloomery_kit.auth import service_token
from bloomery_kit.clients import channel
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.migrations import check_schema, migrate
from bloomery_kit.objects import ObjectStore, open_object_store
from bloomery_kit.server import ServiceHost

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "dataset"
_IDEMPOTENT = tuple(
    f"bloomery.annotation.v1.AnnotationService/{method}"
    for method in ("GetProject", "ListLabels", "AcquireReference", "ReleaseReference")
)


class DatasetApp:
    """The service's parts; `open`, `register`, `start`, `close` in this order."""

    def __init__(
        self, settings: DatasetSettings, db: Database, objects: ObjectStore, *, draining: asyncio.Event
    ) -> None:
        self._db = db
        self._objects = objects
        self._channel = _channel(settings)
        scratch, cached = _folders(settings.cache_dir)
        changed = Notifier()
        annotations = Annotations(AnnotationServiceStub(self._channel))
        cache = ShardCache(objects, cached, limit=settings.cache_bytes)
        self._exporter = Exporter(db, cache, objects, folder=scratch)
        self.servicer = DatasetServicer(
            Catalog(db, annotations, changed=changed),
            Items(cache),
            self._exporter,
            Signer(objects),
            changed=changed,
            draining=draining,
        )
        lease = timedelta(seconds=settings.lease_seconds)
        self._builder = Builder(db, Sources(annotations, objects), changed=changed, folder=scratch, lease=lease)
        self._housekeeper = Housekeeper(db, annotations, objects, changed=changed)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: DatasetSettings, *, draining: asyncio.Event) -> Self:
        """Connect, and bring the schema up to date."""
        db = Database.connect(settings.database_url, SCHEMA)
        await migrate(db, MIGRATIONS)
        await asyncio.to_thread(_prepare, settings.cache_dir)
        return cls(settings, db, open_object_store(settings.object_store), draining=draining)

    def register(self, host: ServiceHost) -> None:
        """Put the servicer on a server."""
        host.add(
            add_DatasetServiceServicer_to_server,
            self.servicer,
            "bloomery.dataset.v1.DatasetService",
            ready=self._ready,
        )

    async def start(self) -> None:
        """Begin to build what waits."""
        if self._db.is_sqlite:
            # One process owns the file, so whoever held these is gone.
            async with self._db.write() as tx:
                await builds.release_all(tx)
        self._tasks = [asyncio.create_task(self._builder.run()), asyncio.create_task(self._housekeeper.run())]

    async def close(self) -> None:
        """Give builds back, stop, and close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exporter.close()
        await self._channel.close()
        await self._db.close()

    async def _ready(self) -> None:
        await check_schema(self._db, MIGRATIONS)
        await self._objects.check_ready()


def _channel(settings: DatasetSettings) -> grpc.aio.Channel:
    token = service_token(settings.token.get_secret_value())
    return channel(settings.annotation_target, token=token, retryable=_IDEMPOTENT)


def _folders(root: Path) -> tuple[Path, Path]:
    return root / "scratch", root / "manifests"


def _prepare(root: Path) -> None:
    scratch, cached = _folders(root)
    # What a killed process left there is of no use to anybody.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    cached.mkdir(exist_ok=True)
