"""What the leader tidies up beside the jobs at work: deleted jobs, old logs, old request ids, unused uploads."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

import grpc

from bloomery_kit import leases
from bloomery_kit.errors import Unavailable
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.leases import Lease, LeaseLost
from bloomery_kit.loops import guarded
from bloomery_trainer import metrics
from bloomery_trainer.core import Core
from bloomery_trainer.finishing import sweep_objects
from bloomery_trainer.holding import ProjectGoneError, forget_orphan, hold_project, release
from bloomery_trainer.model import SUCCESSORS, Job
from bloomery_trainer.neighbours import AWAY
from bloomery_trainer.store import attempts, events, inputs, jobs, results
from bloomery_trainer.store.damage import Damaged

LOOP = "housekeeping"
_AT_ONCE = 100
_HELD_AT_ONCE = 1000
_RARELY = timedelta(minutes=1)
_REQUESTS_KEPT = timedelta(days=7)
_LATE = timedelta(hours=1)
"""After so long, whatever was being made or held for what is gone is there, or will never be; clocks may differ."""


class Housekeeping:
    """Does a little at a time."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last = core.clock() - _RARELY
        # Where the last batch ended, so that what cannot be tidied up now holds up nothing else.
        self._buried = self._unheld = 0
        self._shortened: Job | Damaged | None = None
        self._dropped: inputs.Input | None = None

    async def run(self, lease: Lease) -> None:
        """Bury what was deleted; now and then, shorten old logs and forget what is old. Raise LeaseLost."""
        now = self._core.clock()
        if abs(now - self._last) >= _RARELY:
            self._last = now
            # Before the burials, which are tried again at once: where those fail, this is done all the same.
            for step in (self._forget_requests, self._shorten, self._drop_inputs):
                with guarded(LOOP, let=(LeaseLost,)):
                    await step(lease, now)
            with guarded(LOOP):
                await self._hold_projects()
            with guarded(LOOP):
                await self._count()
        await self._bury_deleted(lease)

    async def pause(self) -> None:
        """Wait until a job is deleted, or until something may have grown old."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_RARELY.total_seconds()):
                await self._core.deleted.wait()
        self._core.deleted.clear()

    async def _bury_deleted(self, lease: Lease) -> None:
        async with self._core.db.read() as tx:
            deleted = await jobs.deleted(tx, self._core.clock(), self._buried, _AT_ONCE)
        at_work = {thing.job_uid for thing in await self._core.launcher.observe()} if deleted else set()
        for job in self._core.complaints.whole(deleted):
            # Whatever still runs may write files until it ends; the reconciler sees to that.
            if job.uid not in at_work:
                with guarded(LOOP, let=(LeaseLost,), job=job.uid):
                    await self._bury(lease, job)
        self._buried = deleted[-1].number if len(deleted) == _AT_ONCE else 0
        if self._buried:
            self._core.deleted.set()

    async def _bury(self, lease: Lease, job: Job) -> None:
        """Give back what a job has; the second time, when nothing can be claimed for it any more, its row goes too."""
        await release(self._core, job)
        await sweep_objects(self._core, job)
        async with self._core.db.write() as tx:
            await leases.fence(tx, lease)
            if job.bury_time is None:
                await jobs.note(tx, job.uid, bury_time=self._core.clock() + _LATE)
                return
            await attempts.drop_all(tx, job.uid)
            await results.keep_job(tx, job)
            await jobs.remove(tx, job.uid)

    async def _hold_projects(self) -> None:
        """For jobs from before jobs did, and for those that ended before they could."""
        async with self._core.db.read() as tx:
            unheld = await jobs.unheld(tx, self._unheld, _HELD_AT_ONCE)
        for job in self._core.complaints.whole(unheld):
            # Where nobody answers, the others are not tried: the owner is the same. The next time begins behind it.
            self._unheld = job.number
            with guarded(LOOP, let=(Unavailable,), job=job.uid):
                await self._hold_project(job)
        self._unheld = unheld[-1].number if len(unheld) == _HELD_AT_ONCE else 0

    async def _hold_project(self, job: Job) -> None:
        try:
            await hold_project(self._core, job)
        except ProjectGoneError:
            await forget_orphan(self._core, job)
        except grpc.aio.AioRpcError as error:
            if error.code() not in AWAY:
                raise
            raise Unavailable("OWNER_AWAY", f"the owner of {job.project} does not answer") from error

    async def _forget_requests(self, lease: Lease, now: datetime) -> None:
        async with self._core.db.write() as tx:
            await leases.fence(tx, lease)
            await forget_requests(tx, before=now - _REQUESTS_KEPT)

    async def _shorten(self, lease: Lease, now: datetime) -> None:
        limit = now - timedelta(seconds=self._core.settings.event_retention)
        async with self._core.db.read() as tx:
            finished = await jobs.finished_before(tx, limit, self._shortened, _AT_ONCE)
        for job in self._core.complaints.whole(finished):
            with guarded(LOOP, let=(LeaseLost,), job=job.uid):
                await self._drop_log(lease, job)
        self._shortened = finished[-1] if len(finished) == _AT_ONCE else None

    async def _drop_log(self, lease: Lease, job: Job) -> None:
        # A long log takes long to drop, and the lease cannot be renewed meanwhile: one at a time.
        async with self._core.db.write() as tx:
            await leases.fence(tx, lease)
            await events.drop(tx, job.uid, through=job.last_sequence - 1)
            await jobs.note(tx, job.uid, oldest_sequence=job.last_sequence)

    async def _drop_inputs(self, lease: Lease, now: datetime) -> None:
        """Remove uploaded files that nobody has asked for lately; jobs have copies of their own."""
        limit = now - timedelta(seconds=self._core.settings.input_retention)
        async with self._core.db.read() as tx:
            unused = await inputs.unused_since(tx, limit, self._dropped, _AT_ONCE)
        for each in unused:
            with guarded(LOOP, let=(LeaseLost,), input=each.digest):
                await self._drop(lease, each)
        self._dropped = unused[-1] if len(unused) == _AT_ONCE else None

    async def _drop(self, lease: Lease, unused: inputs.Input) -> None:
        async with self._core.db.write() as tx:
            await leases.fence(tx, lease)
            # Deleted before the commit: whoever wants the file meanwhile waits for the row, and uploads it again.
            if await inputs.drop(tx, unused):
                await self._core.objects.delete(inputs.key(unused.project_uid, unused.digest))
                async for left in self._core.objects.list(inputs.staging_key(unused.project_uid, unused.digest)):
                    await self._core.objects.delete(left.key)

    async def _count(self) -> None:
        async with self._core.db.read() as tx:
            counts = await jobs.count_by_state(tx)
        for state in SUCCESSORS:
            metrics.JOBS.labels(state.name).set(counts.get(state, 0))
