"""What projects may take, as admins of the installation set it."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from bloomery_access.model import ProjectQuota
from bloomery_access.store.tables import PROJECTS, QUOTAS
from bloomery_kit.database import Transaction, insert_ignore

_Q = QUOTAS.c
LIMITS = ("bytes", "images", "running_jobs", "gpus")


async def find(tx: Transaction, project_uid: str) -> ProjectQuota:
    """The limits of a project; none where nobody has set any."""
    row = (await tx.execute(sa.select(QUOTAS).where(_Q.project_uid == project_uid))).one_or_none()
    if row is None:
        return ProjectQuota({}, None)
    limits = {name: getattr(row, name) for name in LIMITS}
    return ProjectQuota({name: limit for name, limit in limits.items() if limit is not None}, row.update_time)


async def change(tx: Transaction, project_uid: str, limits: Mapping[str, int | None], now: datetime) -> None:
    """Set limits of a project; None takes one away."""
    empty = dict.fromkeys(LIMITS)
    await insert_ignore(tx, QUOTAS, {"project_uid": project_uid, "update_time": now} | empty)
    await tx.execute(sa.update(QUOTAS).where(_Q.project_uid == project_uid).values({**limits, "update_time": now}))


async def forget_unknown(tx: Transaction) -> None:
    """Drop the limits of projects that are no more."""
    known = sa.select(PROJECTS.c.uid).where(PROJECTS.c.id.is_not(None))
    await tx.execute(sa.delete(QUOTAS).where(_Q.project_uid.not_in(known)))
