"""Jobs in the database. `move` is the only way in which a job's state or reason changes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery.training.v1 import event_pb2, job_pb2
from bloomery_kit.database import Transaction, compare_and_set
from bloomery_kit.errors import Aborted, NotFound
from bloomery_kit.sequences import next_sequence
from bloomery_kit.visible import shown
from bloomery_trainer import metrics
from bloomery_trainer.model import ACTIVE, SUCCESSORS, TERMINAL, Job, Kind, Reason, Resources, Spec, State, Waiting
from bloomery_trainer.store import damage, events
from bloomery_trainer.store.damage import Damaged
from bloomery_trainer.store.tables import (
    DELETED,
    OPEN,
    UNHELD,
    UNSHORTENED,
    WAITING,
    in_batches,
    job_labels,
    jobs,
    made,
)

COLUMNS = [jobs.c[column.name] for column in fields(Job)]
_OF_WAITING = [jobs.c[column.name] for column in fields(Waiting)[:-1]]
_WAITING = (
    sa.select(*_OF_WAITING, *damage.RESOURCES)
    .where(WAITING, jobs.c.number > sa.bindparam("after"))
    .order_by(jobs.c.number)
    .limit(sa.bindparam("limit"))
)
# Every report of a worker runs it, and building a statement costs more than running it.
_EXTEND_LOG = (
    sa.update(jobs)
    .where(jobs.c.uid == sa.bindparam("of_job"), jobs.c.state.not_in(TERMINAL))
    .values(last_sequence=jobs.c.last_sequence + sa.bindparam("count"))
    .returning(jobs.c.last_sequence)
)


@dataclass(frozen=True)
class Filter:
    """Which jobs to list; what is not given allows all. `group` and `job_id` are ids, `model` is an id or a name."""

    project: str | None = None
    state: State | None = None
    kind: Kind | None = None
    active: bool = False
    model: str | None = None
    group: str | None = None
    job_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


async def insert(tx: Transaction, job: Job) -> Job:
    """Write a new job with its first event, and number it. IntegrityError if the id is taken."""
    number = await next_sequence(tx, "jobs")
    values = {column.name: getattr(job, column.name) for column in fields(Job)}
    values |= {"number": number, "last_sequence": 1, "kind": job.spec.kind, "model": job.spec.model}
    values |= asdict(job.resources)
    await tx.execute(sa.insert(jobs).values(values))
    await _write_labels(tx, job.uid, job.labels)
    return await _logged(tx, job.uid, None)


async def get(tx: Transaction, project: str, job_id: str, *, lock: bool = False) -> Job:
    """The job of that name. Raise NotFound, FailedPrecondition JOB_UNREADABLE."""
    query = _select(lock).where(jobs.c.project == project, jobs.c.job_id == job_id, ~jobs.c.deleted)
    if (row := (await tx.execute(query)).one_or_none()) is None:
        raise NotFound("job", f"{project}/jobs/{job_id}", "list the jobs of the project")
    with damage.refused(f"{project}/jobs/{job_id}"):
        return made(Job, row)


async def find(tx: Transaction, uid: str, *, lock: bool = False) -> Job | None:
    """The job with that uid, also a deleted one; `lock` keeps others from changing it in this transaction."""
    row = (await tx.execute(_select(lock).where(jobs.c.uid == uid))).one_or_none()
    return None if row is None else made(Job, row)


async def move(
    tx: Transaction,
    job: Job,
    *,
    now: datetime,
    to: State | None = None,
    reason: Reason | None = None,
    **changes: object,
) -> Job:
    """Put `job` into a state (or leave it there) for `reason`, with one event; `changes` are further columns.

    Raise Aborted JOB_CHANGED if the job is not any more as it was read; the caller reads again or gives up.
    """
    state = job.state if to is None else to
    if state != job.state and state not in SUCCESSORS.get(job.state, ()):
        raise RuntimeError(f"{job.state.name} -> {state.name} is not in the state table")
    dated = None if reason is None else Reason(reason.code, reason.message, reason.hint, reason.retriable, now)
    values: dict[str, object] = {"state": state, "reason": dated, "version": job.version + 1, "update_time": now}
    if state in TERMINAL:
        values["end_time"] = now
    if state is State.PENDING:
        values |= {"queue_time": now, "queued_seconds": 0.0}
    values["last_sequence"] = jobs.c.last_sequence + 1
    await _set(tx, job, values | changes)
    if state != job.state:
        metrics.TRANSITIONS.labels(job.state.name, state.name).inc()
    return await _logged(tx, job.uid, job.state)


async def edit(
    tx: Transaction, job: Job, *, now: datetime, display_name: str, labels: Mapping[str, str], priority: int
) -> Job:
    """Change what people may edit; no event, no move."""
    values = {"display_name": display_name, "labels": labels, "priority": priority, "update_time": now}
    await tx.execute(sa.update(jobs).where(jobs.c.uid == job.uid).values(values))
    await _write_labels(tx, job.uid, labels)
    edited = await find(tx, job.uid)
    assert edited is not None
    return edited


async def note(tx: Transaction, uid: str, **changes: object) -> bool:
    """Write columns that are no part of the state, such as `progress` or `held`; False where the job is gone."""
    return await compare_and_set(tx, jobs, jobs.c.uid == uid, values=changes)


async def count(tx: Transaction, job: Job | Waiting, seconds: float) -> None:
    """Write for how long a job has waited, unless it has begun to wait anew."""
    same = (jobs.c.uid == job.uid, jobs.c.queue_time == job.queue_time)
    await compare_and_set(tx, jobs, *same, values={"queued_seconds": seconds})


async def listed(tx: Transaction, wanted: Filter, *, before: int | None, limit: int) -> list[Job | Damaged]:
    """Jobs newest first, older than the number `before`."""
    query = _select(lock=False).where(~jobs.c.deleted, *_conditions(wanted))
    if before is not None:
        query = query.where(jobs.c.number < before)
    return await _several(tx, query.order_by(jobs.c.number.desc()).limit(limit))


async def count_pending(tx: Transaction, project: str) -> int:
    """How many jobs of a project wait for their first or next attempt."""
    query = sa.select(sa.func.count()).where(jobs.c.project == project, jobs.c.state == State.PENDING, OPEN)
    return int(await tx.scalar(query) or 0)


async def waiting(tx: Transaction, after: int, limit: int) -> list[Waiting | Damaged]:
    """Jobs that are PENDING in the order of their numbers, past `after`."""
    rows = (await tx.execute(_WAITING, {"after": after, "limit": limit})).all()
    unwritten = await _specs(tx, [row.uid for row in rows if not row.cpus])
    width = len(_OF_WAITING)

    def make(row: Sequence[Any]) -> Waiting:
        spec = unwritten.get(row[0])
        return made(Waiting, (*row[:width], spec.resources if spec else Resources(*row[width:])))

    return [damage.read(row, make) for row in rows]


async def _specs(tx: Transaction, uids: Sequence[str]) -> dict[str, Spec]:
    """Of jobs whose columns for what they take a version of this service has left empty that did not have them."""
    found: dict[str, Spec] = {}
    for some in in_batches(uids):
        rows = await tx.execute(sa.select(jobs.c.uid, jobs.c.spec).where(jobs.c.uid.in_(some)))
        found.update((row.uid, row.spec) for row in rows)
    return found


async def deleted(tx: Transaction, now: datetime, after: int, limit: int) -> list[Job | Damaged]:
    """Deleted jobs of which something is to be given back now, in the order of their numbers, past `after`."""
    due = sa.or_(jobs.c.bury_time.is_(None), jobs.c.bury_time <= now)
    query = _select(lock=False).where(DELETED, due, jobs.c.number > after)
    return await _several(tx, query.order_by(jobs.c.number).limit(limit))


async def unheld(tx: Transaction, after: int, limit: int) -> list[Job | Damaged]:
    """Jobs that are not known to hold their project, in the order of their numbers, past `after`."""
    query = _select(lock=False).where(UNHELD, ~jobs.c.deleted, jobs.c.number > after)
    return await _several(tx, query.order_by(jobs.c.number).limit(limit))


async def heads(tx: Transaction, uids: Sequence[str]) -> dict[str, int]:
    """The last sequence of each job."""
    found: dict[str, int] = {}
    for some in in_batches(uids):
        rows = await tx.execute(sa.select(jobs.c.uid, jobs.c.last_sequence).where(jobs.c.uid.in_(some)))
        found.update((row.uid, row.last_sequence) for row in rows)
    return found


async def extend_log(tx: Transaction, uid: str, count: int, **changes: object) -> int | None:
    """Take `count` sequences of a job's log and return the first; None once the terminal event has sealed it.

    `changes` are further columns that are no part of the state.
    """
    last: int | None = await tx.scalar(_EXTEND_LOG, {"of_job": uid, "count": count, **changes})
    return None if last is None else last - count + 1


async def count_by_state(tx: Transaction) -> dict[State, int]:
    """How many jobs are in each state that is not terminal."""
    query = sa.select(jobs.c.state, sa.func.count()).where(OPEN).group_by(jobs.c.state)
    return {State(row[0]): int(row[1]) for row in await tx.execute(query)}


async def finished_before(
    tx: Transaction, moment: datetime, after: Job | Damaged | None, limit: int
) -> list[Job | Damaged]:
    """Jobs that ended before `moment` and still have their whole log, by their ends, past `after`."""
    query = _select(lock=False).where(UNSHORTENED, jobs.c.end_time < moment)
    order = (jobs.c.end_time, jobs.c.uid)
    if after is not None:
        query = query.where(sa.tuple_(*order) > sa.tuple_(after.end_time, after.uid))
    return await _several(tx, query.order_by(*order).limit(limit))


async def remove(tx: Transaction, uid: str) -> None:
    """Forget a job for good, with its labels."""
    await tx.execute(sa.delete(job_labels).where(job_labels.c.job_uid == uid))
    await tx.execute(sa.delete(jobs).where(jobs.c.uid == uid))


def _select(lock: bool) -> sa.Select[tuple[object, ...]]:
    query = sa.select(*COLUMNS)
    return query.with_for_update() if lock else query


async def _several(tx: Transaction, query: sa.Select[tuple[object, ...]]) -> list[Job | Damaged]:
    rows = await tx.execute(query.add_columns(*damage.RESOURCES))
    return [damage.read(row, lambda row: made(Job, row[: len(COLUMNS)])) for row in rows]


async def _set(tx: Transaction, job: Job, values: Mapping[str, object]) -> None:
    if not await compare_and_set(tx, jobs, jobs.c.uid == job.uid, jobs.c.version == job.version, values=values):
        raise Aborted("JOB_CHANGED", f"{job.name} moved on in the meantime")


async def _logged(tx: Transaction, uid: str, before: State | None) -> Job:
    job = await find(tx, uid)
    assert job is not None
    change = event_pb2.StateChanged(
        from_state=job_pb2.JobState.ValueType(before or 0),
        to_state=job_pb2.JobState.ValueType(job.state),
        reason=events.reason(job.reason),
    )
    event = events.make(job.update_time, job.attempt, state_changed=change)
    await events.append(tx, uid, job.last_sequence, [event], job.update_time)
    return job


async def _write_labels(tx: Transaction, uid: str, labels: Mapping[str, str]) -> None:
    await tx.execute(sa.delete(job_labels).where(job_labels.c.job_uid == uid))
    if labels:
        rows = [{"job_uid": uid, "key": key, "value": value} for key, value in labels.items()]
        await tx.execute(sa.insert(job_labels), rows)


def _conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    found = shown(jobs.c.project, wanted.project, prefix="projects/")
    if wanted.state is not None:
        found.append(jobs.c.state == wanted.state)
    if wanted.active:
        # Few of all there ever were, and found by their own index before the rest is looked at.
        found.append(jobs.c.number.in_(sa.select(jobs.c.number).where(jobs.c.state.in_(ACTIVE), OPEN)))
    if wanted.kind is not None:
        found.append(jobs.c.kind == wanted.kind)
    if wanted.model is not None:
        found.append(_of_model(wanted.model, wanted.project))
    if wanted.group is not None:
        found.append(jobs.c.group == wanted.group)
    if wanted.job_id is not None:
        found.append(jobs.c.job_id == wanted.job_id)
    for key, value in wanted.labels.items():
        matching = sa.select(job_labels.c.job_uid).where(job_labels.c.key == key, job_labels.c.value == value)
        found.append(jobs.c.uid.in_(matching))
    return found


def _of_model(model: str, project: str | None) -> sa.ColumnElement[bool]:
    if "/" in model:
        return jobs.c.model == model
    if project is not None:
        return jobs.c.model == f"{project}/models/{model}"
    return jobs.c.model.endswith(f"/models/{model}", autoescape=True)
