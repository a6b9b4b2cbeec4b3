"""What may be done later: giving up what deleted and failed versions held, and forgetting old requests."""

import logging
from datetime import timedelta

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.model import Cleanup
from bloomery_dataset.store import builds
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock, utc_now

CLEANUPS = "cleanups"
"""Key of the notifier that wakes the housekeeper."""
_BATCH = 100
_INTERVAL_SECONDS = 30.0
_REMEMBER = timedelta(days=7)
_log = logging.getLogger("bloomery.dataset.housekeeping")


class Housekeeper:
    """Does what is left to do; every step may be repeated, so any number of replicas may do it at once."""

    def __init__(
        self, db: Database, annotations: Annotations, objects: ObjectStore, *, changed: Notifier, clock: Clock = utc_now
    ) -> None:
        self._db = db
        self._annotations = annotations
        self._objects = objects
        self._changed = changed
        self._clock = clock

    async def run(self) -> None:
        """Tidy now and then, until cancelled."""
        with self._changed.subscribe(CLEANUPS) as wake:
            while True:
                try:
                    await self.tidy()
                except Exception as error:  # noqa: BLE001
                    _log.warning("tidying up has to wait", extra={"error": error})
                await wake.wait(_INTERVAL_SECONDS)

    async def tidy(self) -> None:
        """Do all that is left to do."""
        async with self._db.write() as tx:
            await forget_requests(tx, before=self._clock() - _REMEMBER)
        while left := await self._left():
            for cleanup in left:
                await self._clean(cleanup)

    async def _left(self) -> list[Cleanup]:
        async with self._db.read() as tx:
            return await builds.cleanups(tx, _BATCH)

    async def _clean(self, cleanup: Cleanup) -> None:
        async for found in self._objects.list(cleanup.prefix):
            await self._objects.delete(found.key)
        await self._annotations.release(cleanup.project, cleanup.holder)
        async with self._db.write() as tx:
            await builds.forget_cleanup(tx, cleanup.uid)
