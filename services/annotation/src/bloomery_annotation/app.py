"""The service put together: what `__main__` serves, and what an installation in one process embeds."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Self

from bloomery.annotation.v1 import add_AnnotationServiceServicer_to_server
from bloomery_annotation import housekeeping
from bloomery_annotation.accounts import LOOP as ACCOUNTS
from bloomery_annotation.accounts import NEWS, Accounts
from bloomery_annotation.blobs import DiskGuard, Uploads
from bloomery_annotation.contents import Contents
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.importer.run import LOOP, Tools
from bloomery_annotation.importer.runner import HELP, WAKE, ImportRunner
from bloomery_annotation.scratch import sweep
from bloomery_annotation.service import AnnotationService, Parts
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit import leases
from bloomery_kit.access import access_channel
from bloomery_kit.audit import Auditing
from bloomery_kit.credentials import database_passwords
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import Loops
from bloomery_kit.migrations import check_schema, migrate
from bloomery_kit.objects import ObjectStore, open_object_store
from bloomery_kit.quotas import Quotas
from bloomery_kit.server import ServiceHost
from bloomery_kit.settings import FolderStoreSettings
from bloomery_kit.times import utc_now

SERVICE = "bloomery.annotation.v1.AnnotationService"
SCHEMA = "annotation"
MIGRATIONS = Path(__file__).parent / "migrations"
_IMPORTS_AT_ONCE = 2
_TIDY_SECONDS = 600.0
_TELL_SECONDS = 10.0


class AnnotationApp:
    """Open it, register it at a host, start it, and close it when the host is drained."""

    def __init__(
        self, settings: AnnotationSettings, db: Database, objects: ObjectStore, draining: asyncio.Event
    ) -> None:
        self._db = db
        self._access = access_channel(settings)
        self._audit = Auditing("annotation", db, self._access)
        accounts = Accounts(db, self._access)
        changed = Notifier()
        quotas = Quotas(self._access)
        uploads = Uploads(
            db,
            objects,
            _disk(settings),
            url_seconds=settings.url_seconds,
            at_once=settings.uploads_at_once,
            quotas=quotas,
        )
        self._servicer = AnnotationService(
            Parts(
                db,
                accounts,
                uploads,
                changed,
                draining,
                utc_now,
                max_blob_bytes=settings.max_blob_bytes,
                quotas=quotas,
            )
        )
        tools = Tools(db, Contents(db, objects), changed, utc_now, quotas)
        runner = ImportRunner(tools, lease=settings.import_lease_seconds)
        housekeeper = Housekeeper(db, objects, url_seconds=settings.url_seconds)
        self.loops = Loops()
        for number in range(_IMPORTS_AT_ONCE):
            news = partial(changed.listen(WAKE).wait, settings.import_poll_seconds)
            self.loops.add(f"{LOOP} {number + 1}", runner.run_all, news)
        if not db.is_sqlite:
            self.loops.add(HELP, runner.help_all, settings.import_poll_seconds)
        deleted = partial(changed.listen(housekeeping.DELETED).wait, _TIDY_SECONDS)
        self.loops.add(housekeeping.BURIALS, housekeeper.bury, deleted)
        self.loops.add(housekeeping.LOOP, housekeeper.tidy, _TIDY_SECONDS)
        if self._access is not None:
            news = partial(changed.listen(NEWS).wait, _TELL_SECONDS)
            self.loops.add(ACCOUNTS, accounts.tell_all, news)
        self._audit.add_to(self.loops)

    @classmethod
    async def open(cls, settings: AnnotationSettings, *, draining: asyncio.Event) -> Self:
        """Connect, and bring the schema up to date. Raise Unavailable if the database cannot be reached."""
        db = Database.connect(settings.database_url, SCHEMA, passwords=database_passwords(settings))
        await migrate(db, MIGRATIONS)
        await asyncio.to_thread(sweep)
        return cls(settings, db, open_object_store(settings.object_store), draining)

    def register(self, host: ServiceHost) -> None:
        """Serve the rpcs at a host."""
        host.add(
            add_AnnotationServiceServicer_to_server,
            self._servicer,
            SERVICE,
            ready=self._ready,
            audit=self._audit.log,
        )

    async def start(self) -> None:
        """Begin the work in the background."""
        if self._db.is_sqlite:
            # One process owns the file, so whoever held these is gone.
            async with self._db.write() as tx:
                await leases.free_all(tx)
        self.loops.start()

    async def close(self) -> None:
        """End the work in the background and disconnect."""
        await self.loops.close()
        await self._audit.close()
        if self._access is not None:
            await self._access.close()
        await self._db.close()

    async def _ready(self) -> None:
        self.loops.check_ready()
        await check_schema(self._db, MIGRATIONS)


def _disk(settings: AnnotationSettings) -> DiskGuard:
    store = settings.object_store
    return DiskGuard(store.root if isinstance(store, FolderStoreSettings) else None, settings.reserved_bytes)
