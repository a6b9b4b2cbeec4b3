"""The feed of results: one row for each job that succeeded, numbered without gaps."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_kit.database import Transaction
from bloomery_kit.sequences import next_sequence
from bloomery_trainer.model import Job, Result, Success
from bloomery_trainer.store import jobs
from bloomery_trainer.store.tables import Unreadable, made, results
from bloomery_trainer.store.tables import jobs as rows

_COLUMNS = [results.c[column.name] for column in fields(Result)]


@dataclass(frozen=True)
class Line:
    """A line of the feed: a result with its job, or why it cannot be read. `job` is a name, empty where unknown."""

    sequence: int
    job_uid: str
    job: str
    content: tuple[Job, Result] | ValueError


async def insert(tx: Transaction, job_uid: str, success: Success, now: datetime) -> Result:
    """Write the result of a job. IntegrityError if it has one."""
    sequence = await next_sequence(tx, "results")
    result = Result(sequence, job_uid, success, now)
    await tx.execute(sa.insert(results).values(sequence=sequence, job_uid=job_uid, success=success, create_time=now))
    return result


async def of_job(tx: Transaction, job_uid: str) -> Result | None:
    """The result of a job, if it has one."""
    row = (await tx.execute(sa.select(*_COLUMNS).where(results.c.job_uid == job_uid))).one_or_none()
    return None if row is None else made(Result, row)


async def of_jobs(tx: Transaction, uids: Sequence[str]) -> dict[str, Result | ValueError]:
    """The results of those jobs that have one, or why it cannot be read."""
    found: dict[str, Result | ValueError] = {}
    for row in await tx.execute(sa.select(*_COLUMNS).where(results.c.job_uid.in_(uids))):
        try:
            found[row.job_uid] = made(Result, row)
        except ValueError as error:
            found[row.job_uid] = error
    return found


async def after(tx: Transaction, sequence: int, limit: int) -> list[Line]:
    """Results past a sequence in order, with their jobs; also of those that are gone."""
    query = sa.select(*_COLUMNS, results.c.job, *jobs.COLUMNS).outerjoin(rows, rows.c.uid == results.c.job_uid)
    found = await tx.execute(query.where(results.c.sequence > sequence).order_by(results.c.sequence).limit(limit))
    return [_line(row) for row in found]


def _line(row: sa.Row[Any]) -> Line:
    width, known = len(_COLUMNS), row._mapping  # noqa: SLF001 - so it is called for everybody
    kept, present = row[width], row[width + 1 :]
    name = f"{known[rows.c.project]}/jobs/{known[rows.c.job_id]}" if known[rows.c.project] else ""
    content: tuple[Job, Result] | ValueError
    try:
        job = made(Job, present) if kept is None else _whole(kept)
        name, content = job.name, (job, made(Result, row[:width]))
    except ValueError as error:
        content = error
    return Line(row.sequence, row.job_uid, name, content)


def _whole(kept: Job | Unreadable) -> Job:
    if isinstance(kept, Unreadable):
        raise kept.named("job")
    return kept


async def keep_job(tx: Transaction, job: Job) -> None:
    """Write down a job that is about to be removed, for the readers of its result."""
    await tx.execute(sa.update(results).where(results.c.job_uid == job.uid).values(job=job))
