"""Wiring of the dataset service, the same in a process of its own and in the embedded server."""

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import Self

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import add_DatasetServiceServicer_to_server
from bloomery_dataset import builder, housekeeping
from bloomery_dataset.annotations import Annotations
from bloomery_dataset.build import LOOP as BUILDS
from bloomery_dataset.build import Sources
from bloomery_dataset.builder import Builder
from bloomery_dataset.catalog import Catalog
from bloomery_dataset.export import Exporter
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.items import Items
from bloomery_dataset.service import DatasetServicer
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.shards import ShardCache, has_arrived
from bloomery_dataset.signing import Signer
from bloomery_kit import leases
from bloomery_kit.access import access_channel
from bloomery_kit.audit import Auditing
from bloomery_kit.clients import neighbour
from bloomery_kit.credentials import database_passwords
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import Loops
from bloomery_kit.migrations import check_schema, migrate
from bloomery_kit.objects import ObjectStore, open_object_store
from bloomery_kit.server import ServiceHost

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "dataset"
_TIDY_SECONDS = 60.0
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
        self._channel = neighbour(settings.annotation_target, settings, retryable=_IDEMPOTENT)
        self._access = access_channel(settings)
        self._audit = Auditing("dataset", db, self._access)
        scratch, cached = _folders(settings.cache_dir)
        changed = Notifier()
        annotations = Annotations(AnnotationServiceStub(self._channel))
        cache = ShardCache(objects, cached, limit=settings.cache_bytes)
        self._exporter = Exporter(db, cache, objects, folder=scratch)
        self.servicer = DatasetServicer(
            Catalog(db, annotations, changed=changed),
            Items(cache, objects),
            self._exporter,
            Signer(objects),
            changed=changed,
            draining=draining,
        )
        sources = Sources(annotations, objects, cache)
        works = Builder(db, sources, changed=changed, folder=scratch, lease=settings.lease_seconds)
        housekeeper = Housekeeper(db, annotations, objects)
        self.loops = Loops()
        news = partial(changed.listen(builder.BUILDS).wait, settings.build_poll_seconds)
        self.loops.add(BUILDS, works.build_all, news)
        tidying = partial(changed.listen(housekeeping.CLEANUPS).wait, _TIDY_SECONDS)
        self.loops.add(housekeeping.LOOP, housekeeper.tidy, tidying)
        self._audit.add_to(self.loops)

    @classmethod
    async def open(cls, settings: DatasetSettings, *, draining: asyncio.Event) -> Self:
        """Connect, and bring the schema up to date."""
        db = Database.connect(settings.database_url, SCHEMA, passwords=database_passwords(settings))
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
            audit=self._audit.log,
        )

    async def start(self) -> None:
        """Begin to build what waits."""
        if self._db.is_sqlite:
            # One process owns the file, so whoever held these is gone.
            async with self._db.write() as tx:
                await leases.free_all(tx)
        self.loops.start()

    async def close(self) -> None:
        """Give builds back, stop, and close everything."""
        await self.loops.close()
        await self._exporter.close()
        await self._audit.close()
        for left in filter(None, (self._channel, self._access)):
            await left.close()
        await self._db.close()

    async def _ready(self) -> None:
        self.loops.check_ready()
        await check_schema(self._db, MIGRATIONS)
        await self._objects.check_ready()


def _folders(root: Path) -> tuple[Path, Path]:
    return root / "scratch", root / "manifests"


def _prepare(root: Path) -> None:
    scratch, cached = _folders(root)
    # What a killed process left there is of no use to anybody.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    cached.mkdir(exist_ok=True)
    for part in (file for file in cached.iterdir() if not has_arrived(file)):
        part.unlink()
