"""What people do to jobs that exist: pause, resume, cancel, change, delete."""

from collections.abc import Sequence
from contextlib import suppress

from bloomery_kit.database import Transaction
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation
from bloomery_kit.etags import check_etag
from bloomery_kit.idempotency import forget_answers
from bloomery_trainer import reasons
from bloomery_trainer.core import Core
from bloomery_trainer.finishing import finish
from bloomery_trainer.judging import judge_changes
from bloomery_trainer.model import Job, State
from bloomery_trainer.store import attempts, events, groups, jobs
from bloomery_trainer.store.damage import JobUnreadableError
from bloomery_trainer.store.groups import JobGroup
from bloomery_trainer.wishes import Changes, etag

_BUSY = (State.QUEUED, State.PREPARING, State.RUNNING)


class Control:
    """The verbs. Each runs in the caller's writing transaction; the caller tells the reconciler after the commit."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def cancel(self, tx: Transaction, project: str, job_id: str, *, by: str, force: bool) -> Job:
        """Stop a job, after a checkpoint unless `force`; one that is on its way out is returned as it is.

        Its reason names `by`, the caller's subject.
        """
        job = await jobs.get(tx, project, job_id, lock=True)
        now = self._core.clock()
        reason = reasons.cancelled(by, force=force)
        if job.state in (State.PENDING, State.PAUSED):
            return await finish(tx, job, State.CANCELLED, now, reason=reason)
        if job.state in (*_BUSY, State.PAUSING):
            return await jobs.move(tx, job, now=now, to=State.CANCELLING, reason=reason, force=force)
        if job.state is State.CANCELLING and force and not job.force:
            return await jobs.move(tx, job, now=now, reason=reason, force=True)
        return job

    async def cancel_group(
        self, tx: Transaction, project: str, group: str, *, by: str, force: bool
    ) -> tuple[JobGroup, Sequence[Job]]:
        """Cancel every job of a group that can be read; the group after it, and those jobs. Raise NotFound."""
        cancelled = []
        for job_id in await groups.open_job_ids(tx, project, group):
            with suppress(JobUnreadableError):
                cancelled.append(await self.cancel(tx, project, job_id, by=by, force=force))
        return await groups.get(tx, project, group), cancelled

    async def pause(self, tx: Transaction, project: str, job_id: str) -> Job:
        """Give the machine back after a checkpoint. Raise FailedPrecondition NOT_PAUSABLE."""
        job = await jobs.get(tx, project, job_id, lock=True)
        now = self._core.clock()
        if job.state is State.PENDING:
            return await jobs.move(tx, job, now=now, to=State.PAUSED)
        if job.state in (State.PAUSING, State.PAUSED):
            return job
        attempt = await attempts.find(tx, job.uid, job.attempt)
        if job.state not in _BUSY or (attempt is not None and attempt.publishing):
            what = "is completing" if job.state in _BUSY else f"is {job.state.name}"
            raise _refused("NOT_PAUSABLE", job, f"{what}; only a job that waits or works can be paused")
        return await jobs.move(tx, job, now=now, to=State.PAUSING)

    async def resume(self, tx: Transaction, project: str, job_id: str) -> Job:
        """Let a paused job go on. Raise FailedPrecondition NOT_RESUMABLE."""
        job = await jobs.get(tx, project, job_id, lock=True)
        if job.state is State.PAUSED:
            return await jobs.move(tx, job, now=self._core.clock(), to=State.PENDING, retry_delay=0.0)
        if job.state in (State.PENDING, *_BUSY):
            return job
        fix = "wait until it is PAUSED" if job.state is State.PAUSING else "create another job"
        raise _refused("NOT_RESUMABLE", job, f"is {job.state.name}; {fix}")

    async def update(self, tx: Transaction, project: str, job_id: str, changes: Changes, given_etag: str) -> Job:
        """Change `display_name`, `labels` or `priority`. Raise EtagMismatch, InvalidArgument."""
        job = await jobs.get(tx, project, job_id, lock=True)
        check_etag(given_etag, etag(job), job.name)
        judge_changes(changes)
        return await jobs.edit(
            tx,
            job,
            now=self._core.clock(),
            display_name=job.display_name if changes.display_name is None else changes.display_name,
            labels=job.labels if changes.labels is None else changes.labels,
            priority=job.priority if changes.priority is None else changes.priority,
        )

    async def delete(self, tx: Transaction, project: str, job_id: str) -> Job:
        """Forget a terminal job with its log and checkpoints. Raise FailedPrecondition NOT_TERMINAL."""
        job = await jobs.get(tx, project, job_id, lock=True)
        if not job.state.is_terminal:
            raise _refused("NOT_TERMINAL", job, f"is {job.state.name}; cancel it first")
        await jobs.note(tx, job.uid, deleted=True)
        await events.drop(tx, job.uid)
        # Another job may have its id.
        await forget_answers(tx, job.name)
        return job


def _refused(code: str, job: Job, what: str) -> FailedPrecondition:
    return FailedPrecondition(code, f"{job.name} {what}", [PreconditionViolation(code, job.name, what)])
