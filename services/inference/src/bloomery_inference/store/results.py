"""The feed of results: how far it was read, and what of it was refused."""

from datetime import datetime

import sqlalchemy as sa

from bloomery_inference.store.tables import FEEDS, REFUSED_RESULTS
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
    columns = REFUSED_RESULTS.c
    query = sa.select(columns.reason).where(columns.job == job).order_by(columns.sequence.desc()).limit(1)
    if job_uid:
        query = query.where(columns.job_uid == job_uid)
    reason: str | None = await tx.scalar(query)
    return reason
