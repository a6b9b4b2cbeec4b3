"""The fate of variants whose jobs end without a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from bloomery.training.v1 import GetJobRequest, JobState
from bloomery_inference.store import variants
from bloomery_inference.store.variants import Wanted
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import guarded
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

LOOP = "inference pending variants"
PENDING = "pending variants"
"""Key of the notifier that says that a variant was asked for."""
_IDLE_SECONDS = 60.0
_BATCH = 500
_CREATION_GRACE = 60.0
"""Seconds within which the job of a variant is created that was asked for; it may be another replica that does."""


@dataclass
class _Look:
    """When this replica first saw a PENDING variant and looks at its job next, and since when that is missing."""

    since: float
    due: float
    jobless: float | None = None

    def again(self, now: float, *, interval: float) -> None:
        """Look later the longer it takes: an end is seen late by a tenth of that, and by a minute at most."""
        self.due = now + max(interval, min((now - self.since) / 10, _IDLE_SECONDS))


class Pending:
    """Looks at the jobs of PENDING variants, after `interval` seconds and then less often; while none is, it waits."""

    def __init__(
        self,
        db: Database,
        *,
        jobs: JobServiceAsyncStub,
        changed: Notifier,
        interval: float,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._jobs = jobs
        self._asked = changed.listen(PENDING)
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic
        self._looks: dict[str, _Look] = {}

    async def settle(self) -> None:
        """End the variants whose jobs ended without a result."""
        looks: dict[str, _Look] = {}
        after = ""
        while page := await self._page(after):
            for variant in page:
                now = self._monotonic()
                look = looks[variant.uid] = self._looks.get(variant.uid, _Look(now, now))
                if now >= look.due:
                    look.again(now, interval=self._interval)
                    with guarded(LOOP, job=variant.job):
                        await self._settle(variant, look)
            after = page[-1].uid
        self._looks = looks

    async def _page(self, after: str) -> list[Wanted]:
        async with self._db.read() as tx:
            return await variants.pending(tx, after=after, limit=_BATCH)

    async def _settle(self, variant: Wanted, look: _Look) -> None:
        if reason := await self._end_of(variant, look):
            async with self._db.write() as tx:
                await variants.finish(tx, variant.job, result=None, reason=reason, now=self._clock())

    async def _end_of(self, variant: Wanted, look: _Look) -> str:
        """Why a PENDING variant will not come, or nothing while it may."""
        try:
            job = await self._jobs.GetJob(GetJobRequest(name=variant.job))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            # By this replica's own time: the variant may have been asked for by the clock of another.
            now = self._monotonic()
            look.jobless = now if look.jobless is None else look.jobless
            is_fresh = now - look.jobless < _CREATION_GRACE
            return "" if is_fresh else f"{variant.job} does not exist; ask for the variant again"
        if job.state == JobState.JOB_STATE_FAILED:
            told = "; ".join(filter(None, (job.reason.message, job.reason.hint)))
            return f"{job.reason.code}: {told}"
        return f"{variant.job} was cancelled" if job.state == JobState.JOB_STATE_CANCELLED else ""

    async def pause(self) -> None:
        """Until it is time to look again."""
        now = self._monotonic()
        due = min((look.due for look in self._looks.values()), default=now + _IDLE_SECONDS)
        await self._asked.wait(max(self._interval, due - now))
