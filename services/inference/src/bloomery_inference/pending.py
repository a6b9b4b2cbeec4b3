"""The fate of variants whose jobs end without a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

from bloomery.training.v1 import GetJobRequest, JobState
from bloomery_inference.model import Variant
from bloomery_inference.store import variants
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
_CREATION_GRACE = 60.0
"""Seconds within which the job of a variant is created that was asked for; it may be another replica that does."""


class Pending:
    """Looks at the jobs of variants that are PENDING every `interval` seconds; while none is, it waits for one."""

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
        self._waiting = True
        self._jobless: dict[str, float] = {}

    async def settle(self) -> None:
        """End the variants whose jobs ended without a result."""
        async with self._db.read() as tx:
            pending = await variants.pending(tx)
        self._waiting = bool(pending)
        self._jobless = {variant.uid: self._jobless[variant.uid] for variant in pending if variant.uid in self._jobless}
        for variant in pending:
            with guarded(LOOP, job=variant.job):
                if reason := await self._end_of(variant):
                    async with self._db.write() as tx:
                        await variants.finish(tx, variant.job, result=None, reason=reason, now=self._clock())

    async def _end_of(self, variant: Variant) -> str:
        """Why a PENDING variant will not come, or nothing while it may."""
        try:
            job = await self._jobs.GetJob(GetJobRequest(name=variant.job))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            # By this replica's own time: the variant may have been asked for by the clock of another.
            now = self._monotonic()
            is_fresh = now - self._jobless.setdefault(variant.uid, now) < _CREATION_GRACE
            return "" if is_fresh else f"{variant.job} does not exist; ask for the variant again"
        if job.state == JobState.JOB_STATE_FAILED:
            told = "; ".join(filter(None, (job.reason.message, job.reason.hint)))
            return f"{job.reason.code}: {told}"
        return f"{variant.job} was cancelled" if job.state == JobState.JOB_STATE_CANCELLED else ""

    async def pause(self) -> None:
        """Until it is time to look again."""
        await self._asked.wait(self._interval if self._waiting else _IDLE_SECONDS)
