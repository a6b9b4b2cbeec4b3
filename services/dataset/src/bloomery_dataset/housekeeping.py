"""What may be done later: holding projects, giving up what is gone held, and forgetting old requests."""

from datetime import timedelta

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.holding import Holding
from bloomery_dataset.model import Cleanup, Dataset
from bloomery_dataset.store import builds, datasets
from bloomery_kit.database import Database
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.loops import guarded
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock, utc_now

CLEANUPS = "cleanups"
"""Key of the notifier that says that there is something to clean up."""
LOOP = "dataset housekeeping"
_BATCH = 100
_REMEMBER = timedelta(days=7)
_LATE = timedelta(hours=1)
"""After so long, whatever was being made or held for what is gone is there, or will never be; clocks may differ."""


class Housekeeper:
    """Does what is left to do; every step may be repeated, so any number of replicas may do it at once."""

    def __init__(self, db: Database, annotations: Annotations, objects: ObjectStore, *, clock: Clock = utc_now) -> None:
        self._db = db
        self._annotations = annotations
        self._holding = Holding(db, annotations)
        self._objects = objects
        self._clock = clock

    async def tidy(self) -> None:
        """Do all that is left to do; what cannot be done now stays for the next time and holds up nothing else."""
        with guarded(LOOP):
            async with self._db.write() as tx:
                await forget_requests(tx, before=self._clock() - _REMEMBER)
        with guarded(LOOP):
            await self._hold_projects()
        after = 0
        while left := await self._left(after):
            for cleanup in left:
                with guarded(LOOP, holder=cleanup.holder):
                    await self._clean(cleanup)
            after = left[-1].ordinal

    async def _hold_projects(self) -> None:
        after = ""
        while unheld := await self._unheld(after):
            for dataset in unheld:
                with guarded(LOOP, dataset=dataset.name):
                    await self._holding.hold(dataset)
            after = unheld[-1].uid

    async def _unheld(self, after: str) -> list[Dataset]:
        async with self._db.read() as tx:
            return await datasets.unheld(tx, after=after, limit=_BATCH)

    async def _left(self, after: int) -> list[Cleanup]:
        async with self._db.read() as tx:
            return await builds.cleanups(tx, now=self._clock(), after=after, limit=_BATCH)

    async def _clean(self, cleanup: Cleanup) -> None:
        async for found in self._objects.list(cleanup.prefix):
            await self._objects.delete(found.key)
        await self._annotations.release(cleanup.project, cleanup.holder)
        async with self._db.write() as tx:
            if cleanup.last_time:
                await builds.forget_cleanup(tx, cleanup)
            else:
                await builds.clean_again(tx, cleanup.uid, self._clock() + _LATE)
