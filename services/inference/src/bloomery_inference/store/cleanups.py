"""What is to be cleaned up behind versions, variants and results that are gone: written when they go, done later."""

import sqlalchemy as sa

from bloomery_inference.model import Cleanup
from bloomery_inference.store.tables import CLEANUPS
from bloomery_kit.database import Transaction
from bloomery_kit.sequences import next_sequence


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


async def page(tx: Transaction, *, after: int, limit: int) -> list[tuple[int, Cleanup]]:
    """What is left behind a place in the order, oldest first, each with its own place."""
    query = sa.select(CLEANUPS).where(CLEANUPS.c.ordinal > after).order_by(CLEANUPS.c.ordinal).limit(limit)
    return [
        (row.ordinal, Cleanup(tuple(row.keys), row.dataset_version, row.holder, row.job, row.job_uid))
        for row in await tx.execute(query)
    ]


async def forget(tx: Transaction, ordinal: int) -> None:
    """One is done."""
    await tx.execute(sa.delete(CLEANUPS).where(CLEANUPS.c.ordinal == ordinal))
