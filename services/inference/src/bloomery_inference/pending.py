"""The fate of variants whose jobs end without a result."""

from __future__ import annotations

from datetime import timedelta
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
_CREATION_GRACE = timedelta(minutes=1)


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
    ) -> None:
        self._db = db
        self._jobs = jobs
        self._asked = changed.listen(PENDING)
        self._interval = interval
        self._clock = clock
        self._waiting = True

    async def settle(self) -> None:
        """End the variants whose jobs ended without a result."""
        async with self._db.read() as tx:
            pending = await variants.pending(tx)
        self._waiting = bool(pending)
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
            # It is created a moment after the variant was asked for.
            fresh = self._clock() - variant.update_time < _CREATION_GRACE
            return "" if fresh else f"{variant.job} does not exist; ask for the variant again"
        if job.state == JobState.JOB_STATE_FAILED:
            told = "; ".join(filter(None, (job.reason.message, job.reason.hint)))
            return f"{job.reason.code}: {told}"
        return f"{variant.job} was cancelled" if job.state == JobState.JOB_STATE_CANCELLED else ""

    async def pause(self) -> None:
        """Until it is time to look again."""
        await self._asked.wait(self._interval if self._waiting else _IDLE_SECONDS)
