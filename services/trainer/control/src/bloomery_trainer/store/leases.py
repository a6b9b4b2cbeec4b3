"""Leases: one holder at a time, by the database's clock; the epoch fences whoever held one before."""

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.errors import Aborted
from bloomery_trainer.store.schema import leases


class _Now(sa.ColumnElement[float]):
    """Seconds since 1970 by the database's clock, at the moment and not at the transaction's start."""

    type = sa.Float()
    inherit_cache = True


@compiles(_Now, "sqlite")
def _sqlite_now(_element: _Now, _compiler: SQLCompiler, **_options: object) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_Now, "postgresql")
def _postgres_now(_element: _Now, _compiler: SQLCompiler, **_options: object) -> str:
    return "extract(epoch from clock_timestamp())"


async def take(tx: Transaction, name: str, holder: str, term: float) -> int | None:
    """Take the lease for `term` seconds if it is free or has run out; return its new epoch, or None."""
    await insert_ignore(tx, leases, {"name": name, "holder": "", "epoch": 0, "expires": 0.0})
    free = sa.or_(leases.c.holder == "", leases.c.expires < _Now())
    statement = (
        sa.update(leases)
        .where(leases.c.name == name, free)
        .values(holder=holder, epoch=leases.c.epoch + 1, expires=_Now() + term)
        .returning(leases.c.epoch)
    )
    epoch: int | None = await tx.scalar(statement)
    return epoch


async def renew(tx: Transaction, name: str, epoch: int, term: float) -> bool:
    """Hold on to the lease for `term` more seconds; False if somebody else has taken it."""
    statement = sa.update(leases).where(leases.c.name == name, leases.c.epoch == epoch, leases.c.holder != "")
    return (await tx.execute(statement.values(expires=_Now() + term))).rowcount == 1


async def give_up(tx: Transaction, name: str, epoch: int) -> None:
    """Let the next one take it at once."""
    statement = sa.update(leases).where(leases.c.name == name, leases.c.epoch == epoch)
    await tx.execute(statement.values(holder="", expires=0.0))


async def fence(tx: Transaction, name: str, epoch: int) -> None:
    """Raise Aborted FENCED unless `epoch` still holds the lease; nobody takes it before this transaction ends."""
    query = sa.select(leases.c.epoch).where(leases.c.name == name, leases.c.epoch == epoch, leases.c.holder != "")
    if await tx.scalar(query.with_for_update(read=True)) is None:
        raise Aborted("FENCED", "another replica leads by now")
