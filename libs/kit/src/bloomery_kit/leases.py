"""Leases: one holder at a time, by the database's clock; the epoch fences whoever held one before.

Work that only one replica may do is done under a lease. Its holder renews it, and fences every transaction that writes:
one that slept past its term finds out before it commits anything, however wrong its own clock is.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.database_clock import Now
from bloomery_kit.errors import Aborted

_NAME = "leases"
_LEASES = sa.table(
    _NAME,
    sa.column("name", sa.String),
    sa.column("holder", sa.String),
    sa.column("epoch", sa.BigInteger),
    sa.column("expires", sa.Float),
)
_L = _LEASES.c
# A lease that ends so many terms from now was taken by a clock that has been set back since.
_BEYOND = 4
# Less than a moment ago: both databases tell time in milliseconds or finer.
_TICK = 0.01


class LeaseLost(Aborted):
    """Somebody else holds the lease by now, or nobody; nothing of the former holder may be written any more."""

    def __init__(self, name: str) -> None:
        super().__init__("FENCED", f"another replica holds {name} by now")


@dataclass(frozen=True)
class Lease:
    """A right to do something alone. Whoever takes it next has a higher epoch."""

    name: str
    epoch: int


def lease_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table that holds every lease: who has it, and until when in seconds since 1970."""
    return sa.Table(
        _NAME,
        metadata,
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )


async def take(tx: Transaction, name: str, holder: str, term: float) -> Lease | None:
    """Take the lease `name` for `term` seconds, None while somebody holds it; a name always has the same term."""
    await insert_ignore(tx, _LEASES, {"name": name, "holder": "", "epoch": 0, "expires": 0.0})
    statement = (
        sa.update(_LEASES)
        .where(_L.name == name, _is_free(term))
        .values(holder=holder, epoch=_L.epoch + 1, expires=Now() + term)
        .returning(_L.epoch)
    )
    epoch: int | None = await tx.scalar(statement)
    return None if epoch is None else Lease(name, epoch)


async def renew(tx: Transaction, lease: Lease, term: float) -> None:
    """Hold on to the lease for `term` more seconds. Raise LeaseLost."""
    statement = sa.update(_LEASES).where(*_held(lease)).values(expires=Now() + term)
    if (await tx.execute(statement)).rowcount != 1:
        raise LeaseLost(lease.name)


async def fence(tx: Transaction, lease: Lease) -> None:
    """Raise LeaseLost unless `lease` is still held; nobody takes it before this transaction ends."""
    query = sa.select(_L.epoch).where(*_held(lease))
    if await tx.scalar(query.with_for_update(read=True)) is None:
        raise LeaseLost(lease.name)


async def give_up(tx: Transaction, lease: Lease, *, rest: float = 0.0) -> None:
    """Let the next one take it, after `rest` seconds; one that was lost already is left alone."""
    await tx.execute(sa.update(_LEASES).where(*_held(lease)).values(holder="", expires=Now() + rest - _TICK))


async def forget(tx: Transaction, name: str) -> None:
    """Remove the lease of something that is over, whoever holds it."""
    await tx.execute(sa.delete(_LEASES).where(_L.name == name))


async def forget_all(tx: Transaction, prefix: str) -> None:
    """Remove the leases whose names begin with `prefix`, whoever holds them."""
    await tx.execute(sa.delete(_LEASES).where(_L.name.startswith(prefix, autoescape=True)))


async def free_all(tx: Transaction) -> None:
    """Take every lease from its holder: at the start of the one process that owns an SQLite file."""
    await tx.execute(sa.update(_LEASES).values(holder="", expires=0.0))


async def held(tx: Transaction, prefix: str, term: float) -> set[str]:
    """The names beginning with `prefix`, whose term that is, that somebody holds at the moment."""
    named = _L.name.startswith(prefix, autoescape=True)
    return set(await tx.scalars(sa.select(_L.name).where(named, _L.holder != "", sa.not_(_is_free(term)))))


def _is_free(term: float) -> sa.ColumnElement[bool]:
    return sa.or_(_L.expires < Now(), _L.expires > Now() + _BEYOND * term)


def _held(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return _L.name == lease.name, _L.epoch == lease.epoch, _L.holder != ""
