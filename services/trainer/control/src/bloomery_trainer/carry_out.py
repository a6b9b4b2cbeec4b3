"""Carrying out what `decide` answered: each write is fenced by the lease and compared with what was read."""

import logging
import math

import grpc
from google.protobuf import json_format
from pydantic_core import from_json

from bloomery.training.v1 import AttemptSuccess
from bloomery_kit import leases
from bloomery_kit.clients import DEFAULT_MESSAGE_BYTES
from bloomery_kit.database import Transaction
from bloomery_kit.errors import Aborted, FailedPrecondition, NotFound
from bloomery_kit.leases import Lease
from bloomery_kit.names import new_uid
from bloomery_trainer import actions, metrics, reasons
from bloomery_trainer.convert import success as success_from
from bloomery_trainer.core import Core, hashed
from bloomery_trainer.decide import Facts
from bloomery_trainer.finishing import (
    RESULT_MANIFEST,
    UnusableResultError,
    end_attempt,
    finish,
    requeue,
    save_tail,
    succeed,
    sweep_objects,
)
from bloomery_trainer.holding import ProjectGoneError, forget_orphan, hold
from bloomery_trainer.launcher import JobFacts, Launched, LaunchError, Order, Phase
from bloomery_trainer.launcher.environment import ATTEMPT_TOKEN, TRAINER_TARGET
from bloomery_trainer.model import Attempt, Job, Outcome, Reason, State, Success
from bloomery_trainer.neighbours import AWAY
from bloomery_trainer.store import attempts, jobs

_TAIL_LINES = 50
_log = logging.getLogger("bloomery.trainer.reconcile")


class Hands:
    """Acts for the leader that holds one lease."""

    def __init__(self, core: Core, lease: Lease) -> None:
        self._core = core
        self._lease = lease
        self._away_for: int | None = None

    @property
    def away_for(self) -> int | None:
        """The number of the job for which the owner of its inputs could not be reached, if there is one."""
        return self._away_for

    async def carry_out(self, facts: Facts, action: actions.Action) -> None:
        """Do it. A job that moved on in the meantime is left to the next pass. Raise LeaseLost and whatever fails."""
        try:
            await self._act(facts, action)
        except Aborted as error:
            if error.reason != "JOB_CHANGED":
                raise
            self._core.moved.set()

    async def clear_away(self, stray: Launched) -> None:
        """End and forget something that no job relies on."""
        metrics.ORPHANS.inc()
        if stray.phase is Phase.ENDED:
            await self._core.launcher.remove(stray.job_uid, stray.attempt)
        else:
            await self._core.launcher.stop(stray.job_uid, stray.attempt, grace=self._core.settings.policy.stop_grace)

    async def _act(self, facts: Facts, action: actions.Action) -> None:
        job = facts.job
        match action:
            case actions.Wait():
                return
            case actions.Hold():
                await self._hold(job)
            case actions.Launch():
                await self._launch(job)
            case actions.Relaunch():
                assert facts.attempt is not None
                await self._start(job, facts.attempt)
            case actions.Stop():
                await self._core.launcher.stop(job.uid, job.attempt, grace=action.grace)
            case actions.Remove():
                await self._remove(job)
            case actions.Adopt():
                await self._adopt(facts, action)
            case _:
                await self._write(facts, action)

    async def _remove(self, job: Job) -> None:
        await self._core.launcher.remove(job.uid, job.attempt)
        if job.state.is_terminal:
            await sweep_objects(self._core, job)
        if job.deleted:
            self._core.deleted.set()

    async def _write(self, facts: Facts, action: actions.Action) -> None:
        lost = isinstance(action, actions.Retry | actions.Fail) and facts.attempt and facts.attempt.outcome is None
        tail = await self._tail(facts) if lost else ()
        async with self._core.db.write() as tx:
            await leases.fence(tx, self._lease)
            job = await self._unchanged(tx, facts.job)
            attempt = await self._same_worker(tx, job, facts.attempt)
            if isinstance(action, actions.Condemn) and action.reason.code == reasons.WORKER_LOST:
                _check_silent(job, attempt, facts.attempt)
            await save_tail(tx, job, tail, self._core.clock())
            await self._move(tx, job, attempt, action)
        self._core.jobs_moved(job.uid)

    async def _move(self, tx: Transaction, job: Job, attempt: Attempt | None, action: actions.Action) -> None:
        now = self._core.clock()
        match action:
            case actions.Note():
                await jobs.move(tx, job, now=now, reason=action.reason)
            case actions.Prepare() if attempt is not None:
                known = attempt.incarnation or action.incarnation
                await attempts.change(tx, attempt, launched_at=attempt.launched_at or now, incarnation=known)
                await jobs.move(tx, job, now=now, to=State.PREPARING)
            case actions.Requeue() if attempt is not None:
                await requeue(tx, job, attempt, action.incarnation, action.reason, now)
            case actions.Condemn() if attempt is not None:
                await end_attempt(tx, job, attempt, Outcome.CONDEMNED, action.reason, now)
            case actions.Retry():
                job = await self._end(tx, job, attempt, action.reason)
                used = (
                    {"infra_failures": job.infra_failures + 1}
                    if action.infrastructure
                    else {"failures": job.failures + 1}
                )
                await jobs.move(
                    tx, job, now=now, to=State.PENDING, reason=action.reason, retry_delay=action.delay, **used
                )
            case actions.Fail():
                job = await self._end(tx, job, attempt, action.reason)
                await finish(tx, job, State.FAILED, now, reason=action.reason)
            case actions.Pause():
                await jobs.move(tx, await self._end(tx, job, attempt, None), now=now, to=State.PAUSED)
            case actions.Cancel():
                await finish(tx, await self._end(tx, job, attempt, None), State.CANCELLED, now, reason=job.reason)
            case _:
                raise RuntimeError(f"{action} cannot be carried out on {job.name}")

    async def _end(self, tx: Transaction, job: Job, attempt: Attempt | None, reason: Reason | None) -> Job:
        if attempt is None:
            return job
        return await end_attempt(tx, job, attempt, Outcome.CONDEMNED, reason, self._core.clock())

    async def _unchanged(self, tx: Transaction, seen: Job) -> Job:
        job = await jobs.find(tx, seen.uid, lock=True)
        if job is None or job.version != seen.version:
            raise Aborted("JOB_CHANGED", f"{seen.name} moved on in the meantime")
        return job

    async def _same_worker(self, tx: Transaction, job: Job, seen: Attempt | None) -> Attempt | None:
        """The job's attempt, as it was seen: a worker may begin, or say its last word, without a move of the job."""
        attempt = await attempts.find(tx, job.uid, job.attempt)
        if seen is None or attempt is None:
            return attempt
        if (attempt.worker_id, attempt.outcome) != (seen.worker_id, seen.outcome):
            raise Aborted("JOB_CHANGED", f"{job.name} has another worker by now, or the last word of this one")
        return attempt

    async def _tail(self, facts: Facts) -> tuple[str, ...]:
        if facts.launched is None:
            return ()
        job, launcher = facts.job, self._core.launcher
        return tuple([line async for line in launcher.logs(job.uid, job.attempt, tail=_TAIL_LINES)])

    async def _hold(self, job: Job) -> None:
        if self._away_for is not None:
            return
        try:
            await hold(self._core, job)
        except ProjectGoneError:
            await forget_orphan(self._core, job)
        except NotFound as error:
            reason = reasons.input_missing(job.spec.base or "the file to work on", error.message)
            await self._write(Facts(job, None, None), actions.Fail(reason))
        except grpc.aio.AioRpcError as error:
            if error.code() in AWAY:
                # A pass asks once, however many jobs wait for the answer; the next one begins behind this job.
                self._away_for = job.number
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                raise
            reason = reasons.input_missing(job.spec.dataset_version, error.details() or error.code().name)
            await self._write(Facts(job, None, None), actions.Fail(reason))

    async def _launch(self, job: Job) -> None:
        number, nonce, now = job.attempt + 1, new_uid(), self._core.clock()
        token = next(iter(self._core.launch_tokens(job.uid, number, nonce)))
        async with self._core.db.write() as tx:
            await leases.fence(tx, self._lease)
            seen = await self._unchanged(tx, job)
            attempt = await attempts.insert(tx, job.uid, number, nonce=nonce, token_hash=hashed(token), now=now)
            queued = await jobs.move(tx, seen, now=now, to=State.QUEUED, attempt=number)
        metrics.ATTEMPTS.labels(job.spec.kind.name).inc()
        metrics.QUEUE_SECONDS.observe(max(0.0, (now - job.queue_time).total_seconds()))
        self._core.jobs_moved(job.uid)
        await self._start(queued, attempt)

    async def _start(self, job: Job, attempt: Attempt) -> None:
        try:
            await self._core.launcher.launch(self._order(job, attempt, await self._token(attempt)))
        except LaunchError as error:
            async with self._core.db.write() as tx:
                await leases.fence(tx, self._lease)
                seen = await self._unchanged(tx, job)
                await self._same_worker(tx, seen, attempt)
                await end_attempt(tx, seen, attempt, Outcome.CONDEMNED, error.reason, self._core.clock())
        else:
            async with self._core.db.write() as tx:
                await leases.fence(tx, self._lease)
                await attempts.launched(tx, attempt, self._core.clock())
        self._core.moved.set()

    async def _token(self, attempt: Attempt) -> str:
        """The one whose hash was stored: the owner's may have been exchanged since."""
        tokens = tuple(self._core.launch_tokens(attempt.job_uid, attempt.number, attempt.nonce))
        async with self._core.db.read() as tx:
            known = [token for token in tokens if await attempts.by_token(tx, hashed(token)) is not None]
        return (*known, *tokens)[0]

    def _order(self, job: Job, attempt: Attempt, token: str) -> Order:
        spec = job.spec
        limit = max(1, math.ceil(spec.deadline_seconds - job.worked_seconds)) if spec.deadline_seconds else 0
        return Order(
            job=JobFacts(job.uid, job.project, job.name, spec.kind, spec.recipe, job.priority, limit, spec.resources),
            attempt=attempt.number,
            environment={TRAINER_TARGET: self._core.worker_target()},
            secrets={ATTEMPT_TOKEN: token},
        )

    async def _adopt(self, facts: Facts, action: actions.Adopt) -> None:
        job, attempt = facts.job, facts.attempt
        assert attempt is not None
        try:
            found = await self._left_result(job, attempt)
            async with self._core.db.write() as tx:
                await leases.fence(tx, self._lease)
                seen = await self._unchanged(tx, job)
                await self._same_worker(tx, seen, attempt)
                await succeed(tx, seen, attempt, found, self._core.clock())
        except (NotFound, FailedPrecondition, ValueError, json_format.ParseError) as error:
            _log.warning("no result to adopt", extra={"job": job.name, "error": error})
            await self._write(facts, action.otherwise)
        except UnusableResultError as error:
            await self._write(facts, actions.Fail(error.reason))
        else:
            self._core.jobs_moved(job.uid)

    async def _left_result(self, job: Job, attempt: Attempt) -> Success:
        async with self._core.db.read() as tx:
            kept = await attempts.kept_artifacts(tx, job.uid, attempt.number)
        if RESULT_MANIFEST not in kept:
            raise NotFound("result manifest", f"{job.name} attempt {attempt.number}")
        manifest = kept[RESULT_MANIFEST]
        if manifest.size_bytes > DEFAULT_MESSAGE_BYTES:
            raise ValueError(
                f"the result manifest has {manifest.size_bytes} bytes, more than a worker's call may carry"
            )
        # Unlike that of the standard library, it refuses deep nesting without coming near the end of the stack.
        content = from_json(await self._core.objects.get(manifest.logical_key))
        return success_from(json_format.ParseDict(content, AttemptSuccess(), ignore_unknown_fields=True))


def _check_silent(job: Job, attempt: Attempt | None, seen: Attempt | None) -> None:
    if attempt is not None and seen is not None and attempt.reports != seen.reports:
        raise Aborted("JOB_CHANGED", f"{job.name} has a worker that speaks again")
