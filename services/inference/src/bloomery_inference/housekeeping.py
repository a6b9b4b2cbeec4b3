"""What may be done later: holding projects, removing and releasing what is gone had, looking for what is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import grpc

from bloomery.training.v1 import GetJobRequest
from bloomery_inference.holding import Holding
from bloomery_inference.model import Cleanup, Model
from bloomery_inference.releasing import Releasing
from bloomery_inference.serving.losses import Losses
from bloomery_inference.store import cleanups, models, replicas
from bloomery_inference.store.cleanups import Due
from bloomery_kit.database import Database
from bloomery_kit.idempotency import forget_requests
from bloomery_kit.loops import guarded
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

CLEANUPS = "cleanups"
"""Key of the notifier that says that there is something to clean up."""
LOOP = "inference housekeeping"
_BATCH = 100
_REMEMBER = timedelta(days=7)
_SILENT_SECONDS = 3600.0
"""After so long without a word, a replica is shown no more; one that comes back tells all that it has."""
_LATE = timedelta(hours=1)
"""After so long, whatever was being made or held for what is gone is there, or will never be; clocks may differ."""


class Housekeeper:
    """Does what is left to do; every step may be repeated, so any number of replicas may do it at once."""

    def __init__(
        self,
        db: Database,
        objects: ObjectStore,
        *,
        jobs: JobServiceAsyncStub,
        releasing: Releasing,
        annotations: AnnotationServiceAsyncStub,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._objects = objects
        self._jobs = jobs
        self._releasing = releasing
        self._holding = Holding(db, annotations)
        self._losses = Losses(db, objects, LOOP)
        self._clock = clock

    async def tidy(self) -> None:
        """Do all that is left to do; what cannot be done now stays for the next time and holds up nothing else."""
        with guarded(LOOP):
            async with self._db.write() as tx:
                await forget_requests(tx, before=self._clock() - _REMEMBER)
        with guarded(LOOP):
            async with self._db.write() as tx:
                await replicas.forget(tx, _SILENT_SECONDS)
        with guarded(LOOP):
            await self._fill_origins()
        with guarded(LOOP):
            await self._hold_projects()
        with guarded(LOOP):
            await self._losses.look()
        after = 0
        while batch := await self._due(after):
            for each in batch:
                with guarded(LOOP, cleanup=each.cleanup):
                    await self._clean(each)
            after = batch[-1].ordinal

    async def _fill_origins(self) -> None:
        async with self._db.read() as tx:
            if not await models.lacks_origins(tx):
                return
        async with self._db.write() as tx:
            await models.fill_origins(tx)

    async def _hold_projects(self) -> None:
        after = ""
        while unheld := await self._unheld(after):
            for model in unheld:
                with guarded(LOOP, model=model.holder):
                    await self._holding.catch_up(model)
            after = unheld[-1].uid

    async def _unheld(self, after: str) -> list[Model]:
        async with self._db.read() as tx:
            return await models.unheld(tx, after=after, limit=_BATCH)

    async def _due(self, after: int) -> list[Due]:
        async with self._db.read() as tx:
            return await cleanups.page(tx, now=self._clock(), after=after, limit=_BATCH)

    async def _clean(self, due: Due) -> None:
        cleanup = due.cleanup
        if cleanup.job and await self._is_there(cleanup):
            return
        for key in cleanup.keys:
            await self._objects.delete(key)
        await self._releasing.release(cleanup)
        async with self._db.write() as tx:
            if due.is_last:
                await cleanups.forget_cleanup(tx, due.ordinal)
            else:
                await cleanups.clean_again(tx, due.ordinal, self._clock() + _LATE)

    async def _is_there(self, cleanup: Cleanup) -> bool:
        try:
            job = await self._jobs.GetJob(GetJobRequest(name=cleanup.job))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return job.uid == cleanup.job_uid
