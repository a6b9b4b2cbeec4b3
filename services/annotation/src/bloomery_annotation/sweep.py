"""Collecting blobs that nothing needs: what never became an image, such as label files of imports that are over.

Blobs that were an image once stay: dataset versions may hold them. Others go after a week in which nobody asked for
them, in two steps. First they count as missing, so that from then on whoever wants them brings them again. Then their
bytes go, in transactions that raise the project's number of sweeps: an upload that was under way finds out when it is
recorded, and brings its bytes once more.
"""

import asyncio
from collections.abc import Collection
from datetime import timedelta

import sqlalchemy as sa

from bloomery_annotation import metrics
from bloomery_annotation.model import Project
from bloomery_annotation.names import blob_key
from bloomery_annotation.store import blobs, imports, projects
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import NotFound
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock

UNUSED_AGE = timedelta(days=7)
_LOOKED_AT = 5_000
"""Blobs of a project that one pass looks at."""
_AT_ONCE = 20
_SECONDS = 5.0
"""How often something is said to the database, which ends a writing transaction that is silent for long."""


class Sweeper:
    """Collects blobs, a part of each project at a time."""

    def __init__(self, db: Database, objects: ObjectStore, clock: Clock) -> None:
        self._db, self._objects, self._clock = db, objects, clock
        self._seen: dict[str, str] = {}

    async def sweep(self, project_id: str) -> None:
        """Collect some of a project's blobs."""
        async with self._db.read() as tx:
            project = await projects.find(tx, project_id)
        await self._mark(project)
        after, failures = "", list[BaseException]()
        while after := await self._remove(project, after, failures):
            pass
        if failures:
            raise failures[0]

    async def _mark(self, project: Project) -> None:
        before = self._clock() - UNUSED_AGE
        if not self._seen.get(project.uid):
            async with self._db.write() as tx:
                await self._lock(tx, project)
                await projects.recount_bytes(tx, project)
        async with self._db.read() as tx:
            unused, last = await blobs.unused(tx, project.uid, self._seen.get(project.uid, ""), before, _LOOKED_AT)
        if unused:
            async with self._db.write() as tx:
                await self._lock(tx, project)
                # An import that runs may need any of them, and reads which there are only once.
                if not await imports.are_unfinished(tx, project):
                    await blobs.mark_going(tx, project.uid, unused, before)
        self._seen[project.uid] = last

    async def _remove(self, project: Project, after: str, failures: list[BaseException]) -> str:
        """Remove some blobs behind a digest; the last that was tried, empty at the end."""
        async with self._db.read() as tx:
            if not await blobs.going(tx, project.uid, after, 1):
                return ""
        async with self._db.write() as tx:
            await self._lock(tx, project)
            going = await blobs.going(tx, project.uid, after, _AT_ONCE)
            if not going:
                return ""
            await projects.count_sweep(tx, project)
            deletions = {
                asyncio.create_task(self._objects.delete(blob_key(project.uid, blob.digest))): blob for blob in going
            }
            await self._wait(tx, deletions)
            gone = [blob for one, blob in deletions.items() if one.exception() is None]
            await blobs.drop(tx, project.uid, [blob.digest for blob in gone])
        metrics.COLLECTED.inc(sum(blob.size_bytes for blob in gone))
        failures += [problem for one in deletions if (problem := one.exception())]
        return going[-1].digest

    async def _wait(self, tx: Transaction, deletions: Collection[asyncio.Task[None]]) -> None:
        """Keep the lock until nothing is being removed: what is under way goes on, and would remove what is brought."""
        under_way = set(deletions)
        try:
            while under_way:
                _, under_way = await asyncio.wait(under_way, timeout=_SECONDS)
                await tx.execute(sa.text("SELECT 1"))
        finally:
            # Also where this replica is shut down.
            if under_way:
                await asyncio.wait(under_way)

    async def _lock(self, tx: Transaction, project: Project) -> None:
        if (await projects.lock(tx, project.id)).uid != project.uid:
            raise NotFound("project", project.name)
