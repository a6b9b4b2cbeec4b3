"""What deleted projects leave behind."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.store import imports
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


async def living(tx: Transaction) -> list[str]:
    """The uids of all other projects."""
    return list((await tx.execute(sa.select(PROJECTS.c.uid))).scalars())


async def remove_rows(tx: Transaction, uid: str, limit: int) -> bool:
    """Remove at most `limit` rows of a deleted project; False if there are none left."""
    await imports.forget_leases(tx, uid)
    for table in OWNED_BY_PROJECT:
        key = _key(tx, table)
        some = sa.select(*key).where(table.c.project_uid == uid).limit(limit)
        if (await tx.execute(sa.delete(table).where(sa.tuple_(*key).in_(some)))).rowcount:
            return True
    return False


def _key(tx: Transaction, table: sa.Table) -> list[sa.ColumnElement[Any]]:
    # By a key of several columns SQLite would read the whole table for each row.
    return [sa.literal_column("rowid")] if tx.dialect.name == "sqlite" else list(table.primary_key.columns)


async def close(tx: Transaction, uid: str) -> None:
    """Forget a project of which nothing is left."""
    await tx.execute(sa.delete(DELETED_PROJECTS).where(DELETED_PROJECTS.c.uid == uid))
