"""What was measured of versions by jobs of its own."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from bloomery.training.v1 import FeedItem
from bloomery_inference.model import Evaluation
from bloomery_inference.store.tables import EVALUATIONS
from bloomery_kit.database import Transaction, insert_ignore

_MOST = 1000


async def record(tx: Transaction, version_uid: str, variant: str, item: FeedItem, now: datetime) -> None:
    """Record what an EVALUATE job measured of a version that is locked, or of its variant of the id `variant`.

    Once, however often its result comes.
    """
    row = {
        "job_uid": item.result.job_uid,
        "version_uid": version_uid,
        "sequence": item.result.sequence,
        "job": item.job.name,
        "dataset_version": item.job.dataset_version,
        "metrics": dict(item.result.metrics),
        "create_time": now,
        "variant": variant,
    }
    await insert_ignore(tx, EVALUATIONS, row)


async def of_version(tx: Transaction, version_uid: str) -> list[Evaluation]:
    """What was measured of a version, the newest first; the newest 1,000."""
    query = sa.select(EVALUATIONS).where(EVALUATIONS.c.version_uid == version_uid)
    rows = await tx.execute(query.order_by(EVALUATIONS.c.sequence.desc()).limit(_MOST))
    return [Evaluation(row.job, row.dataset_version, row.metrics, row.create_time, row.variant) for row in rows]


async def count(tx: Transaction, version_uids: Sequence[str]) -> int:
    """How often some versions were measured."""
    query = sa.select(sa.func.count()).select_from(EVALUATIONS)
    return int(await tx.scalar(query.where(EVALUATIONS.c.version_uid.in_(version_uids))) or 0)


async def delete_all(tx: Transaction, version_uid: str) -> None:
    """Forget what was measured of a version."""
    await tx.execute(sa.delete(EVALUATIONS).where(EVALUATIONS.c.version_uid == version_uid))
