"""The feed of results: how far it was read, and what of it was refused or parked."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from google.protobuf.message import DecodeError

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
    """A result that is to be tried again; what there is to record may be large and is read by itself."""

    sequence: int
    job: str


async def parked(tx: Transaction) -> list[ParkedResult]:
    """What is parked, in the order of the feed."""
    columns = PARKED_RESULTS.c
    rows = await tx.execute(sa.select(columns.sequence, columns.job).order_by(columns.sequence))
    return [ParkedResult(row.sequence, row.job) for row in rows]


async def parked_item(tx: Transaction, sequence: int) -> FeedItem | None:
    """A result as it was parked; None where that cannot be read, never was more than its sequence, or is gone."""
    stored = await tx.scalar(sa.select(PARKED_RESULTS.c.item).where(PARKED_RESULTS.c.sequence == sequence))
    try:
        item = FeedItem.FromString(stored or b"")
    except DecodeError:
        return None
    return item if stored and not item.unreadable else None


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
