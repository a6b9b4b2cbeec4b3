"""Rows by keys of several columns, and some rows of many."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from bloomery_kit.database import Transaction


def among(columns: tuple[sa.Column[Any], ...], keys: Collection[tuple[object, ...]]) -> sa.ColumnElement[bool]:
    """Whether a row has one of the keys.

    For a condition on several columns at once SQLite reads the whole table; one on the first of them, which an index
    begins with, leaves it little to read.
    """
    return sa.and_(columns[0].in_({key[0] for key in keys}), sa.tuple_(*columns).in_(list(keys)))


async def delete_some(tx: Transaction, table: sa.Table, condition: sa.ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` of the rows that fulfil a condition; how many there were."""
    # By a key of several columns SQLite would read the whole table for each row.
    sqlite = tx.dialect.name == "sqlite"
    key: list[sa.ColumnElement[Any]] = [sa.literal_column("rowid")] if sqlite else list(table.primary_key.columns)
    some = sa.select(*key).select_from(table).where(condition).limit(limit)
    return (await tx.execute(sa.delete(table).where(sa.tuple_(*key).in_(some)))).rowcount
