"""Cleaning up in the background: what deleted projects leave behind, uploads that nobody completed, old request ids.

Every step may be repeated, so that several replicas may do the same, and a crash costs nothing.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

from bloomery_annotation.names import staging_prefix
from bloomery_annotation.store import graves
from bloomery_kit.database import Database
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock, utc_now

STAGING_AGE = timedelta(days=2)
REQUEST_AGE = timedelta(days=7)
_EVERY = 600.0
_ROWS = 1000
_log = logging.getLogger("bloomery.janitor")


class Janitor:
    """Cleans now and then."""

    def __init__(self, db: Database, objects: ObjectStore, *, clock: Clock = utc_now, every: float = _EVERY) -> None:
        self._db, self._objects, self._clock, self._every = db, objects, clock, every
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def clean(self) -> None:
        """Clean everything once."""
        async with self._db.write() as tx:
            await forget_requests(tx, before=self._clock() - REQUEST_AGE)
        async with self._db.read() as tx:
            deleted, living = await graves.deleted(tx), await graves.living(tx)
        for uid in deleted:
            await self._bury(uid)
        for uid in living:
            await self._drop_abandoned(uid)

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.clean()
            except Exception as problem:  # noqa: BLE001 - the next round may go better
                _log.warning("cleaning has to wait", extra={"error": problem})

    async def _bury(self, uid: str) -> None:
        removed = True
        while removed:
            async with self._db.write() as tx:
                removed = await graves.remove_rows(tx, uid, _ROWS)
        async for blob in self._objects.list(f"{uid}/"):
            # Other services keep what is theirs in folders of the same project.
            if blob.key.count("/") == 1 or blob.key.startswith(staging_prefix(uid)):
                await self._objects.delete(blob.key)
        async with self._db.write() as tx:
            await graves.close(tx, uid)

    async def _drop_abandoned(self, uid: str) -> None:
        oldest = self._clock() - STAGING_AGE
        async for blob in self._objects.list(staging_prefix(uid)):
            if blob.modified < oldest:
                await self._objects.delete(blob.key)
