"""The feed of results: how far it was read, and what of it was refused or parked."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from bloomery.training.v1 import FeedItem
from bloomery_inference.store.tables import FEEDS, PARKED_RESULTS, REFUSED_RESULTS
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore


async def feed_sequence(tx: Transaction, name: str) -> int:
    """How far the feed `name` was read; 0 at the start."""
    return int(await tx.scalar(sa.select(FEEDS.c.sequence).where(FEEDS.c.name == name)) or 0)


async def advance_feed(tx: Transaction, name: str, sequence: int) -> bool:
    """Move the feed to `sequence` and lock its row; False where it is there already."""
    await insert_ignore(tx, FEEDS, {"name": name, "sequence": 0})
    return await compare_and_set(
        tx, FEEDS, FEEDS.c.name == name, FEEDS.c.sequence < sequence, values={"sequence": sequence}
    )


async def refuse(tx: Transaction, *, job: str, job_uid: str, sequence: int, reason: str, now: datetime) -> None:
    """Note that a result cannot be recorded, and why."""
    row = {"job_uid": job_uid, "job": job, "sequence": sequence, "reason": reason, "create_time": now}
    await insert_ignore(tx, REFUSED_RESULTS, row)


async def refusal(tx: Transaction, job: str, job_uid: str) -> str | None:
    """Why a job's result was refused, None where it was not; without a uid the newest one under the job's name."""
    return await _reason(tx, REFUSED_RESULTS, job, job_uid)


async def park(tx: Transaction, item: FeedItem, reason: str, now: datetime) -> None:
    """Keep a result that is to be tried again."""
    row = {
        "sequence": item.result.sequence,
        "job_uid": item.result.job_uid,
        "job": item.job.name,
        "item": item.SerializeToString(),
        "reason": reason,
        "create_time": now,
    }
    await tx.execute(sa.insert(PARKED_RESULTS).values(row))


@dataclass(frozen=True)
class ParkedResult:
    """A result that is to be tried again, as it is stored."""

    sequence: int
    job: str
    stored: bytes

    def item(self) -> FeedItem:
        """The result. Raise DecodeError where it is damaged."""
        return FeedItem.FromString(self.stored)


async def parked(tx: Transaction, *, after: int, limit: int) -> list[ParkedResult]:
    """What is parked behind a sequence of the feed, in its order."""
    columns = PARKED_RESULTS.c
    query = sa.select(columns.sequence, columns.job, columns.item).where(columns.sequence > after)
    rows = await tx.execute(query.order_by(columns.sequence).limit(limit))
    return [ParkedResult(row.sequence, row.job, row.item) for row in rows]


async def is_parked(tx: Transaction, sequence: int) -> bool:
    """Whether a result is parked."""
    query = sa.select(PARKED_RESULTS.c.sequence).where(PARKED_RESULTS.c.sequence == sequence)
    return await tx.scalar(query) is not None


async def unpark(tx: Transaction, sequence: int) -> bool:
    """Park a result no longer; False where it is not, as another replica was first."""
    result = await tx.execute(sa.delete(PARKED_RESULTS).where(PARKED_RESULTS.c.sequence == sequence))
    return result.rowcount == 1


async def note_reason(tx: Transaction, sequence: int, reason: str) -> None:
    """Say why a result is still parked."""
    columns = PARKED_RESULTS.c
    changed = sa.and_(columns.sequence == sequence, columns.reason != reason)
    await tx.execute(sa.update(PARKED_RESULTS).where(changed).values(reason=reason))


async def parking(tx: Transaction, job: str, job_uid: str) -> str | None:
    """Why a job's result is parked, None where it is not; without a uid the newest one under the job's name."""
    return await _reason(tx, PARKED_RESULTS, job, job_uid)


async def _reason(tx: Transaction, table: sa.Table, job: str, job_uid: str) -> str | None:
    query = sa.select(table.c.reason).where(table.c.job == job).order_by(table.c.sequence.desc()).limit(1)
    if job_uid:
        query = query.where(table.c.job_uid == job_uid)
    reason: str | None = await tx.scalar(query)
    return reason
