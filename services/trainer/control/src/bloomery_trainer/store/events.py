"""The event logs: one row for each batch, which holds the events in the contract's own form.

Events are written once and read many times, so they are kept as the message that every reader wants. A sequence is
taken under the lock of the job's row (`jobs.extend_log`, `jobs.move`) in the transaction that appends.
"""

import enum
from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from bloomery.training.v1 import event_pb2, job_pb2, job_service_pb2
from bloomery_kit.database import Transaction
from bloomery_kit.times import to_timestamp
from bloomery_trainer.model import Reason
from bloomery_trainer.store.tables import events

_INSERT = sa.insert(events)


class Content(enum.IntFlag):
    """What a batch contains."""

    LIFECYCLE = 1
    METRICS = 2
    LOGS = 4
    SAMPLES = 8


CONTENT = {
    "state_changed": Content.LIFECYCLE,
    "checkpoint": Content.LIFECYCLE,
    "preflight": Content.LIFECYCLE,
    "metrics": Content.METRICS,
    "system": Content.METRICS,
    "progress": Content.METRICS,
    "log": Content.LOGS,
    "samples": Content.SAMPLES,
}


def make(
    time: datetime,
    attempt: int,
    *,
    state_changed: event_pb2.StateChanged | None = None,
    log: event_pb2.LogLine | None = None,
) -> event_pb2.JobEvent:
    """An event of the service's own."""
    return event_pb2.JobEvent(time=to_timestamp(time), attempt=attempt, state_changed=state_changed, log=log)


def log_line(
    time: datetime,
    attempt: int,
    message: str,
    level: "event_pb2.LogLine.Level.ValueType" = event_pb2.LogLine.LEVEL_WARNING,
    source: str = "control",
) -> event_pb2.JobEvent:
    """A line of the log."""
    return make(time, attempt, log=event_pb2.LogLine(level=level, source=source, message=message))


def reason(given: Reason | None) -> job_pb2.Reason | None:
    """A reason in the contract's form."""
    if given is None:
        return None
    since = None if given.since is None else to_timestamp(given.since)
    return job_pb2.Reason(
        code=given.code, message=given.message, hint=given.hint, retriable=given.retriable, since_time=since
    )


async def append(tx: Transaction, job_uid: str, first: int, batch: Sequence[event_pb2.JobEvent], now: datetime) -> None:
    """Write consecutive events, the first of which has the sequence `first`."""
    for sequence, event in enumerate(batch, first):
        event.sequence = sequence
    values = {
        "job_uid": job_uid,
        "first": first,
        "last": first + len(batch) - 1,
        "kinds": int(_contents(batch)),
        "level": max((event.log.level for event in batch), default=0),
        "create_time": now,
        "batch": job_service_pb2.ListJobEventsResponse(events=batch).SerializeToString(),
    }
    await tx.execute(_INSERT, values)


async def read(
    tx: Transaction, job_uid: str, after: int, *, rows: int, content: Content | None = None, level: int = 0
) -> Sequence[event_pb2.JobEvent]:
    """Events past the sequence `after`, in order, from at most `rows` batches that hold `content` and `level`."""
    query = _batches(job_uid, content, level).where(events.c.last > after).order_by(events.c.last).limit(rows)
    found = _events(row.batch for row in await tx.execute(query))
    return [event for event in found if event.sequence > after]


async def read_last(
    tx: Transaction, job_uid: str, *, before: int | None, rows: int, content: Content, level: int = 0
) -> Sequence[event_pb2.JobEvent]:
    """The same from the end: events before the sequence `before`, the first of a batch, in order."""
    query = _batches(job_uid, content, level)
    if before is not None:
        query = query.where(events.c.last < before)
    found = [row.batch for row in await tx.execute(query.order_by(events.c.last.desc()).limit(rows))]
    return _events(reversed(found))


async def drop(tx: Transaction, job_uid: str, *, through: int | None = None) -> None:
    """Forget a job's events, or those of the batches that end at or before `through`."""
    condition = events.c.job_uid == job_uid
    if through is not None:
        condition &= events.c.last <= through
    await tx.execute(sa.delete(events).where(condition))


def content_of(event: event_pb2.JobEvent) -> Content:
    """What an event is about."""
    return CONTENT[event.WhichOneof("event") or "progress"]


def _contents(batch: Iterable[event_pb2.JobEvent]) -> Content:
    found = Content(0)
    for event in batch:
        found |= content_of(event)
    return found


def _batches(job_uid: str, content: Content | None, level: int) -> sa.Select[tuple[bytes]]:
    query = sa.select(events.c.batch).where(events.c.job_uid == job_uid)
    if content is not None:
        query = query.where(events.c.kinds.bitwise_and(int(content)) != 0)
    return query.where(events.c.level >= level) if level else query


def _events(batches: Iterable[bytes]) -> list[event_pb2.JobEvent]:
    found: list[event_pb2.JobEvent] = []
    for batch in batches:
        found.extend(job_service_pb2.ListJobEventsResponse.FromString(batch).events)
    return found
