"""Creating jobs: everything is checked and filled in before anything is stored."""

import logging
from dataclasses import replace

import grpc
from sqlalchemy.exc import IntegrityError

from bloomery.common.v1 import Problem
from bloomery_kit.database import Transaction
from bloomery_kit.errors import AlreadyExists, BloomeryError, FieldViolation, InvalidArgument, ResourceExhausted
from bloomery_kit.names import new_uid, short_id
from bloomery_trainer import admission, inputs
from bloomery_trainer.advising import advice
from bloomery_trainer.core import Core
from bloomery_trainer.estimating import Estimate, estimate
from bloomery_trainer.holding import ProjectGoneError, forget_orphan, hold
from bloomery_trainer.judging import judge
from bloomery_trainer.model import Job, Kind, Progress, Spec, State
from bloomery_trainer.resolving import Resolved, resolve
from bloomery_trainer.store import jobs
from bloomery_trainer.wishes import Wish

_log = logging.getLogger("bloomery.trainer")


class Creation:
    """Turns wishes into jobs."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def draft(self, wish: Wish, creator: str) -> Job:
        """The job that `wish` makes, stored nowhere yet.

        Raise what `judge` raises, and ResourceExhausted TOO_MANY_JOBS or DISK_LOW.
        """
        resolved = await resolve(self._core, wish)
        spec = judge(resolved)
        await self._check_room(wish.project)
        return self._drafted(resolved, spec, creator)

    async def estimate(self, wish: Wish, creator: str) -> tuple[Job, Estimate, list[Problem]]:
        """The training that `wish` makes, what it would take, and what is odd about its data. Raise as `judge` does.

        It is drafted whether there is room for it now or not.
        """
        if wish.kind is not Kind.TRAIN:
            raise InvalidArgument([FieldViolation("job.kind", "must be TRAIN: nothing is known of what others take")])
        resolved = await resolve(self._core, wish)
        draft = self._drafted(resolved, judge(resolved), creator)
        assert resolved.dataset is not None
        fraction = draft.spec.effective_parameters.get("fraction", 1)
        share = float(fraction) if isinstance(fraction, int | float) else 1.0
        found = await estimate(self._core, draft, round(resolved.dataset.images * share))
        return draft, found, advice(resolved.dataset, draft.spec.effective_parameters)

    async def store(self, tx: Transaction, draft: Job) -> Job:
        """Write the job. Raise AlreadyExists if its id is taken, FailedPrecondition INPUT_MISSING."""
        await inputs.use(self._core, tx, draft)
        try:
            return await jobs.insert(tx, draft)
        except IntegrityError as error:
            raise AlreadyExists("job", draft.name) from error

    async def claim_inputs(self, uid: str) -> None:
        """Hold the project and the inputs of a stored job; what fails now is repeated by the reconciler.

        Raise ProjectGoneError, and then the job is gone as well.
        """
        async with self._core.db.read() as tx:
            job = await jobs.find(tx, uid)
        if job is None or job.held or job.deleted:
            return
        try:
            await hold(self._core, job)
        except ProjectGoneError:
            await forget_orphan(self._core, job)
            raise
        except (BloomeryError, grpc.aio.AioRpcError) as error:
            _log.warning("the inputs of a job are not held yet", extra={"job": job.name, "error": error})

    def _drafted(self, resolved: Resolved, spec: Spec, creator: str) -> Job:
        wish, now, uid = resolved.wish, self._core.clock(), new_uid()
        job_id = wish.job_id or f"{spec.kind.name.lower()}-{short_id(uid)}"
        return Job(
            uid=uid,
            number=0,
            project=wish.project,
            project_uid=resolved.project_uid,
            job_id=job_id,
            display_name=wish.display_name or job_id,
            labels=wish.labels,
            group=wish.group,
            spec=spec,
            priority=wish.priority,
            creator=creator,
            state=State.PENDING,
            version=1,
            reason=replace(admission.outlook(spec.resources, resolved.capacity), since=now),
            attempt=0,
            failures=0,
            infra_failures=0,
            retry_delay=0.0,
            force=False,
            holder=f"{wish.project}/jobs/{uid}",
            held=False,
            deleted=False,
            progress=Progress(epochs=spec.epochs),
            last_sequence=0,
            oldest_sequence=1,
            worked_seconds=0.0,
            create_time=now,
            queue_time=now,
            update_time=now,
            start_time=None,
            end_time=None,
        )

    async def _check_room(self, project: str) -> None:
        limit = self._core.settings.max_pending_per_project
        async with self._core.db.read() as tx:
            waiting = await jobs.count_pending(tx, project)
        if waiting >= limit:
            message = f"{waiting} jobs of {project} wait already; cancel some or let them start"
            raise ResourceExhausted("TOO_MANY_JOBS", message, 60.0)
        free = await self._core.launcher.free_bytes()
        if free is not None and free < self._core.settings.min_free_bytes:
            needed = self._core.settings.min_free_bytes
            message = f"the server's disk has {free >> 20} MiB left and needs {needed >> 20} MiB; free some space"
            raise ResourceExhausted("DISK_LOW", message)
