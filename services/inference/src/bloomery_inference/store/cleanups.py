"""What is to be cleaned up behind versions, variants and results that are gone: written when they go, done later."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from bloomery_inference.model import Cleanup
from bloomery_inference.store.tables import CLEANUPS
from bloomery_kit.database import Transaction
from bloomery_kit.sequences import next_sequence


@dataclass(frozen=True)
class Due:
    """A cleanup at its place in the order; each is done twice."""

    ordinal: int
    cleanup: Cleanup
    is_last: bool


async def leave(tx: Transaction, cleanup: Cleanup) -> None:
    """Let something be cleaned up once this transaction has committed."""
    row = {
        "ordinal": await next_sequence(tx, "cleanups"),
        "keys": list(cleanup.keys),
        "resource": cleanup.resource,
        "holder": cleanup.holder,
        "job": cleanup.job,
        "job_uid": cleanup.job_uid,
    }
    await tx.execute(sa.insert(CLEANUPS).values(row))


async def page(tx: Transaction, *, now: datetime, after: int, limit: int) -> list[Due]:
    """What is to be done now, behind a place in the order, oldest first."""
    due = sa.or_(CLEANUPS.c.last_time.is_(None), CLEANUPS.c.last_time <= now)
    query = sa.select(CLEANUPS).where(due, CLEANUPS.c.ordinal > after).order_by(CLEANUPS.c.ordinal).limit(limit)
    return [
        Due(
            row.ordinal,
            Cleanup(tuple(row.keys), row.dataset_version, row.holder, row.job, row.job_uid),
            is_last=row.last_time is not None,
        )
        for row in await tx.execute(query)
    ]


async def clean_again(tx: Transaction, ordinal: int, last_time: datetime) -> None:
    """One is done, and is to be done once more."""
    await tx.execute(sa.update(CLEANUPS).where(CLEANUPS.c.ordinal == ordinal).values(last_time=last_time))


async def forget_cleanup(tx: Transaction, ordinal: int) -> None:
    """One is done for good."""
    await tx.execute(sa.delete(CLEANUPS).where(CLEANUPS.c.ordinal == ordinal))
