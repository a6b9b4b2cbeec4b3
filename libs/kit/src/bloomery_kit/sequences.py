"""Numbers that give order without clocks.

A number is taken under the lock of its key's row, inside the transaction that writes what it numbers. So transactions
of one key commit in the order of their numbers, and "everything up to n" is complete for whoever can see n.
"""

import sqlalchemy as sa

from bloomery_kit.database import Transaction, insert_ignore

_NAME = "sequences"
_SEQUENCES = sa.table(_NAME, sa.column("key", sa.String), sa.column("value", sa.BigInteger))


def sequence_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table that holds the last number of every key."""
    return sa.Table(
        _NAME,
        metadata,
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


async def next_sequence(tx: Transaction, key: str, count: int = 1) -> int:
    """Take `count` consecutive numbers of `key` in a writing transaction; return the first. They start at 1."""
    if count < 1:
        raise ValueError("count must be at least 1")
    last = await _advance(tx, key, count)
    if last is None:
        await insert_ignore(tx, _SEQUENCES, {"key": key, "value": 0})
        last = await _advance(tx, key, count)
    assert last is not None
    return last - count + 1


async def current(tx: Transaction, key: str) -> int:
    """The last number taken of `key` as this transaction sees it, 0 before the first."""
    value = await tx.scalar(sa.select(_SEQUENCES.c.value).where(_SEQUENCES.c.key == key))
    return int(value or 0)


async def _advance(tx: Transaction, key: str, count: int) -> int | None:
    value = _SEQUENCES.c.value
    statement = (
        sa.update(_SEQUENCES).where(_SEQUENCES.c.key == key).values(value=value + count).returning(_SEQUENCES.c.value)
    )
    last: int | None = await tx.scalar(statement)
    return last
