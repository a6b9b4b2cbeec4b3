"""The feed of results: one row for each job that succeeded, numbered without gaps."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

import sqlalchemy as sa

from bloomery_kit.database import Transaction
from bloomery_kit.sequences import next_sequence
from bloomery_trainer.model import Job, Result, Success
from bloomery_trainer.store import jobs
from bloomery_trainer.store.tables import jobs as rows
from bloomery_trainer.store.tables import made, results

_COLUMNS = [results.c[column.name] for column in fields(Result)]


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


async def of_jobs(tx: Transaction, uids: Sequence[str]) -> dict[str, Result]:
    """The results of those jobs that have one."""
    rows = await tx.execute(sa.select(*_COLUMNS).where(results.c.job_uid.in_(uids)))
    return {result.job_uid: result for result in (made(Result, row) for row in rows)}


async def after(tx: Transaction, sequence: int, limit: int) -> list[tuple[Job, Result]]:
    """Results past a sequence in order, with their jobs; also of those that are gone."""
    query = sa.select(*_COLUMNS, results.c.job, *jobs.COLUMNS).outerjoin(rows, rows.c.uid == results.c.job_uid)
    found = await tx.execute(query.where(results.c.sequence > sequence).order_by(results.c.sequence).limit(limit))
    width = len(_COLUMNS)
    return [(row[width] or made(Job, row[width + 1 :]), made(Result, row[:width])) for row in found]


async def keep_job(tx: Transaction, job: Job) -> None:
    """Write down a job that is about to be removed, for the readers of its result."""
    await tx.execute(sa.update(results).where(results.c.job_uid == job.uid).values(job=job))
