"""What deleted projects leave behind."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from bloomery_annotation.store import imports
from bloomery_annotation.store.keys import delete_some
from bloomery_annotation.store.tables import DELETED_PROJECTS, OWNED_BY_PROJECT, PROJECTS
from bloomery_kit.database import Transaction


@dataclass(frozen=True)
class Grave:
    """A project that was deleted but not yet removed."""

    project_uid: str
    delete_time: datetime


async def deleted(tx: Transaction) -> list[Grave]:
    """The projects that were deleted but not yet removed."""
    rows = await tx.execute(sa.select(DELETED_PROJECTS))
    return [Grave(row.uid, row.delete_time) for row in rows]


@dataclass(frozen=True)
class Living:
    """A project that is there."""

    id: str
    uid: str


async def living(tx: Transaction) -> list[Living]:
    """All other projects."""
    rows = await tx.execute(sa.select(PROJECTS.c.id, PROJECTS.c.uid))
    return [Living(row.id, row.uid) for row in rows]


async def remove_rows(tx: Transaction, uid: str, limit: int) -> bool:
    """Remove at most `limit` rows of a deleted project; False if there are none left."""
    await imports.forget_leases(tx, uid)
    for table in OWNED_BY_PROJECT:
        if await delete_some(tx, table, table.c.project_uid == uid, limit):
            return True
    return False


async def close(tx: Transaction, uid: str) -> None:
    """Forget a project of which nothing is left."""
    await tx.execute(sa.delete(DELETED_PROJECTS).where(DELETED_PROJECTS.c.uid == uid))
