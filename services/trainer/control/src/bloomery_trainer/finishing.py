"""The ends of attempts and jobs, whoever notices them: the worker's last call or the reconciler."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bloomery.training.v1 import event_pb2
from bloomery_kit.alerts import alert
from bloomery_kit.database import Transaction
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation
from bloomery_trainer import facts, metrics, reasons
from bloomery_trainer.bounds import MetricNames, left_out
from bloomery_trainer.core import Core
from bloomery_trainer.model import MAKES_MODELS, Artifact, Attempt, Job, Outcome, Reason, State, Success
from bloomery_trainer.store import attempts, damage, events, jobs, results
from bloomery_trainer.tenure import superseded

RESULT_MANIFEST = "result-manifest"
LINE = 8192
_TAIL_LINES = 200


@dataclass(frozen=True)
class Failure:
    """Why the work cannot be done, with the last lines of the trainer's log."""

    reason: Reason
    log_tail: str


@dataclass(frozen=True)
class Stopped:
    """The work stopped on request."""


class UnusableResultError(Exception):
    """A result does not say what its readers need."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.reason = reasons.result_invalid(str(self))


OUTCOMES: dict[type[Success | Failure | Stopped], Outcome] = {
    Success: Outcome.SUCCESS,
    Failure: Outcome.FAILURE,
    Stopped: Outcome.STOPPED,
}


async def conclude(
    tx: Transaction, job: Job, attempt: Attempt, end: Success | Failure | Stopped, now: datetime
) -> State:
    """End an attempt as its worker says; return the state of the job after it.

    Where its launcher may start another worker for it, one that was stopped unasked leaves the attempt to that.

    Raise FailedPrecondition ARTIFACT_MISSING, Aborted ATTEMPT_SUPERSEDED for a success that a cancellation came before.
    """
    if isinstance(end, Success):
        if job.state is State.CANCELLING:
            raise superseded(job, attempt)
        try:
            return (await succeed(tx, job, attempt, end, now)).state
        except UnusableResultError as error:
            return await _fail(tx, job, attempt, Failure(error.reason, ""), now)
    if isinstance(end, Failure):
        return await _fail(tx, job, attempt, end, now)
    asked = job.state in (State.PAUSING, State.CANCELLING)
    if attempt.incarnation and not asked:
        return (await requeue(tx, job, attempt, attempt.incarnation, reasons.evicted(), now)).state
    reason = None if asked else reasons.evicted()
    await end_attempt(tx, job, attempt, Outcome.STOPPED, reason, now, finish_state=job.state)
    return job.state


async def requeue(tx: Transaction, job: Job, attempt: Attempt, incarnation: str, reason: Reason, now: datetime) -> Job:
    """Let another worker, of that incarnation if there is one, take up the attempt of one that was taken away."""
    worked = count_work(job, attempt)
    await attempts.release(tx, attempt, incarnation)
    return await jobs.move(tx, job, now=now, to=State.QUEUED, reason=reason, worked_seconds=worked)


async def _fail(tx: Transaction, job: Job, attempt: Attempt, end: Failure, now: datetime) -> State:
    final = not end.reason.retriable and job.state is not State.CANCELLING
    state = State.FAILED if final else job.state
    await save_tail(tx, job, end.log_tail.splitlines(), now)
    ended = await end_attempt(tx, job, attempt, Outcome.FAILURE, end.reason, now, finish_state=state)
    if final:
        await finish(tx, ended, State.FAILED, now, reason=end.reason)
    return state


async def succeed(tx: Transaction, job: Job, attempt: Attempt, success: Success, now: datetime) -> Job:
    """Commit a job's result.

    Raise FailedPrecondition ARTIFACT_MISSING naming all that were not completed, UnusableResultError.
    """
    kept = await attempts.kept_artifacts(tx, job.uid, attempt.number)
    missing = [artifact for artifact in success.artifacts if not _is_kept(artifact, kept.get(artifact.role))]
    if missing:
        fix = "upload it, complete it, and repeat"
        violations = [PreconditionViolation("ARTIFACT_MISSING", artifact.role, fix) for artifact in missing]
        roles = ", ".join(artifact.role for artifact in missing)
        raise FailedPrecondition("ARTIFACT_MISSING", f"not completed with that digest and size: {roles}", violations)
    if problems := facts.problems(job.spec, success):
        raise UnusableResultError(problems)
    names = MetricNames(())
    measured = names.kept(success.metrics)
    made = tuple(kept[artifact.role] for artifact in success.artifacts)
    await results.insert(tx, job.uid, replace(success, artifacts=made, metrics=measured), now)
    if names.left and not job.progress.cut:
        await _log(tx, job, [events.log_line(now, job.attempt, left_out(names.left))], now)
    known = MetricNames(job.progress.metrics).kept({**job.progress.metrics, **measured})
    done = replace(job.progress, fraction=1.0, eta_seconds=0.0, phase="finished", metrics=known)
    ended = await end_attempt(tx, job, attempt, Outcome.SUCCESS, None, now, finish_state=State.SUCCEEDED)
    return await finish(tx, ended, State.SUCCEEDED, now, progress=done)


async def finish(
    tx: Transaction, job: Job, state: State, now: datetime, *, reason: Reason | None = None, **changes: object
) -> Job:
    """Put a job into a terminal state."""
    moved = await jobs.move(tx, job, now=now, to=state, reason=reason, **changes)
    metrics.FINISHED.labels(job.spec.kind.name, state.name, reason.code if reason else "").inc()
    if reason is not None and reason.code == reasons.UNSAFE_FILE:
        alert(metrics.UNSAFE_FILE, reason.message, job=job.name, creator=job.creator)
    if job.start_time is not None:
        metrics.RUN_SECONDS.labels(job.spec.kind.name).observe(max(0.0, (now - job.start_time).total_seconds()))
    return moved


async def end_attempt(
    tx: Transaction,
    job: Job,
    attempt: Attempt,
    outcome: Outcome,
    reason: Reason | None,
    now: datetime,
    *,
    finish_state: State | None = None,
) -> Job:
    """Write an attempt's end, once, and add its time to the job's; nothing its worker says counts from here on."""
    if attempt.outcome is not None:
        return job
    await attempts.change(
        tx, attempt, outcome=outcome.value, end_reason=reason, ended_at=now, finish_state=finish_state
    )
    metrics.ENDED.labels(outcome, _fault(reason)).inc()
    worked = count_work(job, attempt)
    await jobs.note(tx, job.uid, worked_seconds=worked)
    return replace(job, worked_seconds=worked)


def _fault(reason: Reason | None) -> str:
    """What was at fault where an attempt ended for a reason, as `metrics.FAULTS` lists it."""
    if reason is None:
        return "none"
    return "infrastructure" if reason.code in reasons.INFRASTRUCTURE | reasons.REFUSALS else "work"


def count_work(job: Job, attempt: Attempt) -> float:
    """Count the time of an attempt's present worker, which is at its end, and return the job's with it, in seconds."""
    metrics.GPU_SECONDS.inc(attempt.worked_seconds * job.spec.resources.gpus)
    return job.worked_seconds + attempt.worked_seconds


async def save_tail(tx: Transaction, job: Job, lines: Sequence[str], now: datetime) -> None:
    """Put the last lines of a worker's own output into the job's log."""
    tail = [line for line in lines if line.strip()][-_TAIL_LINES:]
    level = event_pb2.LogLine.LEVEL_DEBUG
    await _log(
        tx, job, [events.log_line(now, job.attempt, line[:LINE], level=level, source="worker") for line in tail], now
    )


async def _log(tx: Transaction, job: Job, lines: Sequence[event_pb2.JobEvent], now: datetime) -> None:
    first = await jobs.extend_log(tx, job.uid, len(lines)) if lines else None
    if first is not None:
        await events.append(tx, job.uid, first, lines, now)


async def sweep_objects(core: Core, job: Job) -> None:
    """Delete the files of a terminal job that nobody needs: no part of its result or of a checkpoint, no events.

    Of a deleted job those parts of the result stay that belong to a model by now. Raise JobUnreadableError.
    """
    async with core.db.read() as tx:
        with damage.refused(job.name):
            result = await results.of_job(tx, job.uid)
        kept = [] if job.deleted else await attempts.list_checkpoints(tx, job.uid)
        shown = [] if job.deleted else await attempts.event_files(tx, job.uid)
    if job.deleted and job.spec.kind not in MAKES_MODELS:
        result = None
    needed = {artifact.logical_key for artifact in (*(result.success.artifacts if result else ()), *shown)}
    for checkpoint in kept:
        needed |= {checkpoint.manifest_key, *(file.artifact.logical_key for file in checkpoint.files)}
    async for stat in core.objects.list(f"{job.prefix}/"):
        if stat.key not in needed:
            await core.objects.delete(stat.key)


def _is_kept(artifact: Artifact, kept: Artifact | None) -> bool:
    return kept is not None and (kept.digest, kept.size_bytes) == (artifact.digest, artifact.size_bytes)
