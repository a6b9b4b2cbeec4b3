"""What may be done later: removing the files of what is gone, releasing its data, and forgetting old requests."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import grpc

from bloomery.dataset.v1 import ReleaseReferenceRequest
from bloomery.training.v1 import GetJobRequest
from bloomery_inference.model import Cleanup
from bloomery_inference.store import cleanups
from bloomery_kit.database import Database
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.loops import guarded
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

CLEANUPS = "cleanups"
"""Key of the notifier that says that there is something to clean up."""
LOOP = "inference housekeeping"
_BATCH = 100
_REMEMBER = timedelta(days=7)


class Housekeeper:
    """Does what is left to do; every step may be repeated, so any number of replicas may do it at once."""

    def __init__(
        self,
        db: Database,
        objects: ObjectStore,
        *,
        jobs: JobServiceAsyncStub,
        datasets: DatasetServiceAsyncStub,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._objects = objects
        self._jobs = jobs
        self._datasets = datasets
        self._clock = clock

    async def tidy(self) -> None:
        """Do all that is left to do; what cannot be done now stays for the next time and holds up nothing else."""
        async with self._db.write() as tx:
            await forget_requests(tx, before=self._clock() - _REMEMBER)
        after = 0
        while left := await self._left(after):
            for ordinal, cleanup in left:
                with guarded(LOOP, cleanup=cleanup):
                    await self._clean(ordinal, cleanup)
            after = left[-1][0]

    async def _left(self, after: int) -> list[tuple[int, Cleanup]]:
        async with self._db.read() as tx:
            return await cleanups.page(tx, after=after, limit=_BATCH)

    async def _clean(self, ordinal: int, cleanup: Cleanup) -> None:
        if cleanup.job and await self._is_there(cleanup):
            return
        for key in cleanup.keys:
            await self._objects.delete(key)
        if cleanup.dataset_version:
            await self._release(cleanup)
        async with self._db.write() as tx:
            await cleanups.forget(tx, ordinal)

    async def _is_there(self, cleanup: Cleanup) -> bool:
        try:
            job = await self._jobs.GetJob(GetJobRequest(name=cleanup.job))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return job.uid == cleanup.job_uid

    async def _release(self, cleanup: Cleanup) -> None:
        request = ReleaseReferenceRequest(resource=cleanup.dataset_version, holder=cleanup.holder)
        try:
            await self._datasets.ReleaseReference(request)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
