"""What the leader tidies up beside the jobs at work: deleted jobs, old logs, old request ids, unused uploads."""

import logging
from datetime import timedelta

import grpc

from bloomery_kit.idempotency import forget_requests
from bloomery_trainer import metrics
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.core import Core
from bloomery_trainer.finishing import sweep_objects
from bloomery_trainer.model import Job
from bloomery_trainer.store import attempts, events, inputs, jobs

_AT_ONCE = 100
_RARELY = timedelta(minutes=1)
_REQUESTS_KEPT = timedelta(days=7)
_log = logging.getLogger("bloomery.trainer.housekeeping")


class Housekeeping:
    """Does a little in every pass, so that no pass takes long."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._last = core.clock() - _RARELY

    async def run(self, hands: Hands) -> None:
        """Bury what was deleted; now and then, shorten old logs and forget what is old."""
        async with self._core.db.read() as tx:
            deleted = await jobs.unburied(tx, _AT_ONCE)
        try:
            for job in deleted:
                await self._bury(hands, job)
        except grpc.aio.AioRpcError as error:
            _log.warning("deleted jobs still hold their inputs", extra={"error": error})
        now = self._core.clock()
        if abs(now - self._last) >= _RARELY:
            self._last = now
            await self._shorten(hands)
            await self._drop_inputs(hands)

    async def _bury(self, hands: Hands, job: Job) -> None:
        if job.held and job.spec.dataset_version:
            await self._core.neighbours.release(job.spec.dataset_version, job.name)
        await sweep_objects(self._core, job)
        async with self._core.db.write() as tx:
            await hands.fence(tx)
            await attempts.drop_all(tx, job.uid)
            await jobs.note(tx, job.uid, held=False)

    async def _shorten(self, hands: Hands) -> None:
        now = self._core.clock()
        async with self._core.db.write() as tx:
            await hands.fence(tx)
            await forget_requests(tx, before=now - _REQUESTS_KEPT)
            limit = now - timedelta(seconds=self._core.settings.event_retention)
            for job in await jobs.finished_before(tx, limit, _AT_ONCE):
                await events.drop(tx, job.uid, through=job.last_sequence - 1)
                await jobs.note(tx, job.uid, oldest_sequence=job.last_sequence)
            counts = await jobs.count_by_state(tx)
        for state, count in counts.items():
            metrics.JOBS.labels(state.name).set(count)

    async def _drop_inputs(self, hands: Hands) -> None:
        """Remove uploaded files that no job is going to read."""
        limit = self._core.clock() - timedelta(seconds=self._core.settings.input_retention)
        async with self._core.db.read() as tx:
            unused = await inputs.unused_since(tx, limit, _AT_ONCE)
            working = await jobs.open_jobs(tx) if unused else ()
        needed = {job.spec.base_artifact.logical_key for job in working if job.spec.base_artifact}
        for each in unused:
            key = inputs.key(each.project_uid, each.digest)
            if key in needed:
                continue
            async with self._core.db.write() as tx:
                await hands.fence(tx)
                # Deleted before the commit: whoever wants the file meanwhile waits for the row, and uploads it again.
                if await inputs.drop(tx, each):
                    await self._core.objects.delete(key)
                    await self._core.objects.delete(inputs.staging_key(each.project_uid, each.digest))
