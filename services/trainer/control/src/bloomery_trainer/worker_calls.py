"""What workers say: they begin an attempt, report from it, and end it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bloomery.annotation.v1 import StreamAnnotationSetsResponse
from bloomery.training.v1 import JobEvent
from bloomery_kit.database import Transaction
from bloomery_kit.errors import PermissionDenied, Unauthenticated, Unavailable, Violations
from bloomery_kit.fields import check_text
from bloomery_kit.objects import SignedRequest
from bloomery_kit.times import to_timestamp
from bloomery_trainer import checkpoints, metrics, progress, reasons
from bloomery_trainer.bounds import MetricNames, bound, left_out
from bloomery_trainer.core import Core, belongs, hashed
from bloomery_trainer.finishing import LINE, OUTCOMES, Failure, Stopped, conclude
from bloomery_trainer.launcher import follows
from bloomery_trainer.model import Attempt, Checkpoint, Job, Progress, State, Success
from bloomery_trainer.signing import signed
from bloomery_trainer.starting import Start, start_of
from bloomery_trainer.store import attempts, events, jobs
from bloomery_trainer.tenure import check_current, current, holder, locked, readable

_BATCH = 1000


@dataclass(frozen=True)
class Worker:
    """Who calls: one process, by an id of its own, on a host, in an incarnation that its launcher gave it, if any."""

    id: str
    host: str
    incarnation: str = ""


@dataclass(frozen=True)
class Report:
    """A batch of events; the worker's own number of the first is `first_sequence`."""

    first_sequence: int
    events: Sequence[JobEvent]
    phase: str
    stalled: bool


class WorkerCalls:
    """The calls of workers, each answered the same when it is repeated."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def start(self, token: str, worker: Worker) -> Start:
        """Bind a worker to its attempt. Raise Unauthenticated, Aborted ATTEMPT_SUPERSEDED, Unavailable."""
        _check_worker(worker)
        async with self._core.db.read() as tx:
            with readable():
                known = await attempts.by_token(tx, hashed(token))
        if known is None:
            raise Unauthenticated("no attempt has this token")
        resume, damaged = await checkpoints.newest_whole(self._core, known.job_uid)
        async with self._core.db.write() as tx:
            job, attempt = await locked(tx, known)
            check_current(job, attempt)
            if attempt.worker_id != worker.id:
                self._check_free(attempt, worker)
                job, attempt = await self._bind(tx, job, attempt, worker, token)
                job = await self._begin(tx, job, resume, damaged)
        self._core.jobs_moved(job.uid)
        return await start_of(self._core, job, attempt, resume, self._core.worker_secret(token, attempt))

    async def report(self, secret: str, report: Report) -> tuple[Job, Attempt]:
        """Append what is new and extend the lease; return the job and attempt after it."""
        _check_report(report)
        verdicts = await self._examine(secret, report)
        async with self._core.db.write() as tx:
            before, attempt = await current(tx, secret, lock=True)
            job, renewed = await self._store(tx, before, attempt, report, verdicts)
        self._tell(job, before)
        if any(verdict.checkpoint for verdict in verdicts.values()):
            await checkpoints.prune(self._core, job)
        return job, renewed

    async def _examine(self, secret: str, report: Report) -> dict[int, checkpoints.Verdict]:
        saved = [
            (number, event.checkpoint)
            for number, event in enumerate(report.events, report.first_sequence)
            if event.WhichOneof("event") == "checkpoint"
        ]
        if not saved:
            return {}
        async with self._core.db.read() as tx:
            job, attempt = await current(tx, secret)
        new = [(number, event) for number, event in saved if number > attempt.worker_sequence]
        return {number: await checkpoints.examine(self._core, job, attempt, event) for number, event in new}

    async def sign_inputs(self, secret: str, keys: Sequence[str]) -> list[SignedRequest]:
        """Sign downloads. Raise PermissionDenied for a key outside of the job's project."""
        async with self._core.db.read() as tx:
            job, _ = await current(tx, secret)
        for key in keys:
            if not belongs(key, job.project_uid):
                raise PermissionDenied(f"{key[:100]} does not belong to the job's project")
        return [await signed(self._core, key) for key in keys]

    async def images(self, secret: str, after: str) -> tuple[Job, StreamAnnotationSetsResponse]:
        """The job, and some of the project's images that it works on. Raise PermissionDenied where it has none."""
        async with self._core.db.read() as tx:
            job, _ = await current(tx, secret)
        if job.spec.images is None:
            raise PermissionDenied(f"{job.name} does not work on images of its project")
        return job, await self._core.neighbours.images(job.project, job.spec.images, after)

    async def suggesting(self, secret: str) -> Job:
        """The job that suggests. Raise PermissionDenied where it does not."""
        async with self._core.db.read() as tx:
            job, _ = await current(tx, secret)
        if not job.spec.suggest:
            raise PermissionDenied(f"{job.name} does not suggest")
        return job

    async def finish(self, secret: str, end: Success | Failure | Stopped) -> State:
        """End the attempt; return the state of the job after it.

        Raise FailedPrecondition ARTIFACT_MISSING, Aborted ATTEMPT_SUPERSEDED, also for a success of a job that is
        being cancelled.
        """
        async with self._core.db.write() as tx:
            job, attempt = await holder(tx, secret, lock=True)
            if attempt.finish_state is not None and _is_repeat(attempt, end):
                return attempt.finish_state
            check_current(job, attempt)
            state = await conclude(tx, job, attempt, end, self._core.clock())
        self._core.jobs_moved(job.uid)
        return state

    def _check_free(self, attempt: Attempt, worker: Worker) -> None:
        if follows(worker.incarnation, attempt.incarnation):
            # Which of the two is the later one, the launcher knows: the reconciler asks it, and lets the later begin.
            self._core.moved.set()
            raise Unavailable("ANOTHER_INCARNATION", "another worker has the attempt, unless it is found to be gone")
        if attempt.worker_id is not None:
            raise Unauthenticated("the token was used by another worker")

    async def _bind(
        self, tx: Transaction, job: Job, attempt: Attempt, worker: Worker, token: str
    ) -> tuple[Job, Attempt]:
        now = self._core.clock()
        bound = replace(attempt, worker_id=worker.id)
        await attempts.change(
            tx,
            attempt,
            worker_id=worker.id,
            incarnation=worker.incarnation or attempt.incarnation,
            host=worker.host[:255].replace("\0", ""),
            secret_hash=hashed(self._core.worker_secret(token, bound)),
            started_at=attempt.started_at or now,
            launched_at=attempt.launched_at or now,
        )
        if job.state is State.QUEUED:
            job = await jobs.move(tx, job, now=now, to=State.PREPARING)
        return job, bound

    async def _begin(self, tx: Transaction, job: Job, resume: Checkpoint | None, damaged: list[Checkpoint]) -> Job:
        now = self._core.clock()
        for checkpoint in damaged:
            await attempts.drop_checkpoint(tx, checkpoint)
        if damaged and (first := await jobs.extend_log(tx, job.uid, len(damaged))) is not None:
            text = "the checkpoint of epoch {} is damaged and was left out"
            lines = [events.log_line(now, job.attempt, text.format(each.epoch)) for each in damaged]
            await events.append(tx, job.uid, first, lines, now)
        begun = progress.started(job.progress, resume.epoch if resume else 0)
        await jobs.note(tx, job.uid, progress=begun)
        return replace(job, progress=begun)

    async def _store(
        self, tx: Transaction, job: Job, attempt: Attempt, report: Report, verdicts: dict[int, checkpoints.Verdict]
    ) -> tuple[Job, Attempt]:
        now = self._core.clock()
        names = MetricNames(job.progress.metrics)
        new = [_dated(event, attempt, now, names) for event in _unseen(report, attempt.worker_sequence)]
        if job.state is State.PREPARING and progress.is_work(report.phase, new):
            metrics.PREPARE_SECONDS.observe((now - (attempt.started_at or now)).total_seconds())
            job = await jobs.move(tx, job, now=now, to=State.RUNNING, start_time=job.start_time or now)
        if new or report.phase != job.progress.phase:
            kept = {number: verdict for number, verdict in verdicts.items() if number > attempt.worker_sequence}
            after = progress.advanced(job.progress, report.phase, new)
            progress.tell_watchers(new, after)
            batch = new + await _keep(tx, kept, attempt, now)
            if names.left and not after.cut:
                after = replace(after, cut=True)
                batch.append(events.log_line(now, attempt.number, left_out(names.left)))
            job = await self._append(tx, job, batch, after)
        renewed = replace(
            attempt,
            reports=attempt.reports + 1,
            worker_sequence=attempt.worker_sequence + len(new),
            stalled=report.stalled,
            publishing=attempt.publishing or report.phase == progress.PUBLISHING,
        )
        changed = {name: getattr(renewed, name) for name in ("reports", "worker_sequence", "stalled", "publishing")}
        await attempts.change(tx, attempt, **changed)
        metrics.REPORTS.labels("new" if new else "heartbeat" if not report.events else "repeated").inc()
        return job, renewed

    async def _append(self, tx: Transaction, job: Job, batch: Sequence[JobEvent], after: Progress) -> Job:
        first = await jobs.extend_log(tx, job.uid, len(batch), progress=after)
        assert first is not None
        if batch:
            await events.append(tx, job.uid, first, batch, self._core.clock())
        return replace(job, progress=after, last_sequence=first + len(batch) - 1)

    def _tell(self, job: Job, before: Job) -> None:
        if job.version != before.version:
            self._core.jobs_moved(job.uid)
        elif job.last_sequence != before.last_sequence:
            self._core.committed(job.uid)


def _is_repeat(attempt: Attempt, end: Success | Failure | Stopped) -> bool:
    refused = attempt.end_reason is not None and attempt.end_reason.code == reasons.RESULT_INVALID
    return attempt.outcome is OUTCOMES[type(end)] or (refused and isinstance(end, Success))


async def _keep(
    tx: Transaction, verdicts: dict[int, checkpoints.Verdict], attempt: Attempt, now: datetime
) -> list[JobEvent]:
    lines = []
    for verdict in verdicts.values():
        metrics.CHECKPOINTS.labels("kept" if verdict.checkpoint else "ignored").inc()
        if verdict.checkpoint is not None:
            await attempts.keep_checkpoint(tx, verdict.checkpoint)
        else:
            lines.append(events.log_line(now, attempt.number, f"a checkpoint was ignored: {verdict.problem}"))
    return lines


def _unseen(report: Report, acknowledged: int) -> Sequence[JobEvent]:
    if report.first_sequence > acknowledged + 1:
        # Something before it got lost on the way; the reply makes the worker send it again.
        return ()
    return report.events[acknowledged + 1 - report.first_sequence :] if report.events else ()


def _dated(event: JobEvent, attempt: Attempt, now: datetime, names: MetricNames) -> JobEvent:
    event.attempt = attempt.number
    event.coalesced_from = 0
    if not event.HasField("time"):
        event.time.CopyFrom(to_timestamp(now))
    if event.WhichOneof("event") == "log":
        event.log.message = event.log.message[:LINE]
    bound(event, names)
    return event


def _check_worker(worker: Worker) -> None:
    violations = Violations()
    if not worker.id:
        violations.add("worker_id", "is required: any text that no other worker chooses")
    check_text(worker.id, "worker_id", violations)
    check_text(worker.incarnation, "incarnation", violations)
    violations.raise_if_any()


def _check_report(report: Report) -> None:
    violations = Violations()
    if len(report.events) > _BATCH:
        violations.add("events", f"must be at most {_BATCH}")
    if report.events and report.first_sequence < 1:
        violations.add("first_sequence", "must be at least 1")
    for index, event in enumerate(report.events):
        if event.WhichOneof("event") in (None, "state_changed"):
            violations.add(
                f"events[{index}]",
                "must be metrics, progress, a log line, a checkpoint, a load, a preflight or samples",
            )
    violations.raise_if_any()
