"""What may be done later: removing what nobody needs any more, and bringing to its end what was cut off.

Every step may be repeated, so that several replicas may do the same, and a crash costs nothing.
"""

from datetime import datetime, timedelta

from bloomery_annotation import labelling
from bloomery_annotation.names import staging_prefix
from bloomery_annotation.store import graves, import_parts, imports, labels
from bloomery_annotation.store.graves import Grave
from bloomery_annotation.sweep import Sweeper
from bloomery_kit.database import Database
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.loops import guarded
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock, utc_now

LOOP = "annotation housekeeping"
BURIALS = "annotation burials"
DELETED = "deleted projects"
"""Key of the notifier that says that there is a project to bury."""
_STAGING_AGE = timedelta(days=2)
_REQUEST_AGE = timedelta(days=7)
_MARGIN = timedelta(hours=1)
"""What the clocks of replicas and of the object store may differ by."""
_AGAIN = timedelta(minutes=5)
"""After what time a deleted project is looked through again, however many are deleted meanwhile."""
_ROWS = 1000


class Housekeeper:
    """Does what is left to do; signed uploads hold for `url_seconds`."""

    def __init__(self, db: Database, objects: ObjectStore, *, url_seconds: int, clock: Clock = utc_now) -> None:
        self._db, self._objects, self._clock = db, objects, clock
        self._url_life = timedelta(seconds=url_seconds)
        self._sweeper = Sweeper(db, objects, clock)
        self._buried: dict[str, datetime] = {}

    async def tidy(self) -> None:
        """Do all that is left to do in the projects that are there; one's trouble does not hold up the others."""
        with guarded(LOOP):
            async with self._db.write() as tx:
                await forget_requests(tx, before=self._clock() - _REQUEST_AGE)
        with guarded(LOOP):
            async with self._db.write() as tx:
                await import_parts.forget_ended(tx)
        with guarded(LOOP):
            await self._finish_labels()
        with guarded(LOOP):
            await self._tidy_projects()
        with guarded(LOOP):
            while await self._forget_files():
                pass

    async def bury(self) -> None:
        """Remove what deleted projects left."""
        async with self._db.read() as tx:
            deleted = await graves.deleted(tx)
        now = self._clock()
        self._buried = {uid: when for uid, when in self._buried.items() if abs(now - when) < _AGAIN}
        for grave in deleted:
            if grave.project_uid not in self._buried:
                with guarded(BURIALS, project=grave.project_uid):
                    await self._bury(grave)
                    self._buried[grave.project_uid] = now

    async def _finish_labels(self) -> None:
        async with self._db.read() as tx:
            going = await labels.marked(tx)
        for label in going:
            with guarded(LOOP, label=label.name):
                await labelling.finish(self._db, label, self._clock)

    async def _tidy_projects(self) -> None:
        async with self._db.read() as tx:
            living = await graves.living(tx)
        for project in living:
            with guarded(LOOP, project=project.uid):
                await self._drop_abandoned(project.uid)
            with guarded(LOOP, project=project.uid):
                await self._sweeper.sweep(project.id)

    async def _forget_files(self) -> int:
        async with self._db.write() as tx:
            return await imports.forget_files(tx, _ROWS)

    async def _bury(self, grave: Grave) -> None:
        uid = grave.project_uid
        # What was signed before the deletion may still arrive; once that is over, this pass has seen everything.
        last = self._clock() > grave.delete_time + self._url_life + _MARGIN
        async for blob in self._objects.list(f"{uid}/"):
            # Other services keep what is theirs in folders of the same project.
            if blob.key.count("/") == 1 or blob.key.startswith(staging_prefix(uid)):
                await self._objects.delete(blob.key)
        # Last, as a database on a full disk has little room for what it is to forget.
        removed = True
        while removed:
            async with self._db.write() as tx:
                removed = await graves.remove_rows(tx, uid, _ROWS)
        if last:
            async with self._db.write() as tx:
                await graves.close(tx, uid)

    async def _drop_abandoned(self, uid: str) -> None:
        oldest = self._clock() - _STAGING_AGE
        async for blob in self._objects.list(staging_prefix(uid)):
            if blob.modified < oldest:
                await self._objects.delete(blob.key)
