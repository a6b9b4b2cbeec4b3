"""Parts of an import that several replicas read at once.

Whoever runs an import leads, and says by its epoch that others may read parts of it. They save under its lease, each
when all before is saved, so that they are refused once somebody else leads. Who reads which part is advice: it runs
out, and a part that two have read is saved by the first.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from bloomery_annotation.model import ImportState
from bloomery_annotation.store.imports import LEASE_PREFIX, Claim
from bloomery_annotation.store.tables import IMPORTS, LEASES, PROJECTS
from bloomery_kit import leases
from bloomery_kit.database import Transaction
from bloomery_kit.leases import Lease, LeaseLost

_I = IMPORTS.c
_L = LEASES.c
_IS_SHARED = sa.and_(
    _L.name == sa.literal(LEASE_PREFIX) + _I.uid,
    _L.epoch == _I.shared_epoch,
    _L.holder != "",
    _I.state == ImportState.RUNNING.value,
)


@dataclass(frozen=True)
class Progress:
    """How many entries of an import are saved, and whether it is to stop."""

    place: int
    cancel_requested: bool


async def share(tx: Transaction, claim: Claim) -> None:
    """Let others read parts of an import for as long as this claim holds. Raise LeaseLost."""
    await leases.fence(tx, claim.lease)
    # Who led before shares no more.
    await leases.forget_all(tx, f"{claim.lease.name}/")
    statement = sa.update(IMPORTS).where(_I.uid == claim.import_uid)
    await tx.execute(statement.values(shared_epoch=claim.lease.epoch))


async def shared(tx: Transaction, *, without: str, least: int) -> list[Claim]:
    """The claims of others than the holder `without` who share an import with `least` images to come, oldest first."""
    query = (
        sa.select(PROJECTS.c.id, _I.uid, _L.name, _L.epoch)
        .join_from(IMPORTS, LEASES, _IS_SHARED)
        .join(PROJECTS, PROJECTS.c.uid == _I.project_uid)
        .where(_L.holder != without, _I.item_count - _I.read_count >= least)
    )
    rows = await tx.execute(query.order_by(_I.create_time, _I.uid))
    return [Claim(row.id, row.uid, Lease(row.name, row.epoch)) for row in rows]


async def progress(tx: Transaction, claim: Claim) -> Progress:
    """How far an import is. Raise LeaseLost."""
    query = sa.select(_I.read_count, _I.cancel_requested).join_from(IMPORTS, LEASES, _L.name == claim.lease.name)
    running = (_I.uid == claim.import_uid, _I.state == ImportState.RUNNING.value)
    held = (_L.epoch == claim.lease.epoch, _L.holder != "")
    row = (await tx.execute(query.where(*running, *held))).one_or_none()
    if row is None:
        raise LeaseLost(claim.lease.name)
    return Progress(row.read_count, row.cancel_requested)


async def first_free(tx: Transaction, claim: Claim, wanted: Iterable[int], term: float) -> int | None:
    """The number of the first of these parts that nobody reads."""
    taken = await leases.held(tx, _name(claim, ""), term)
    return next((number for number in wanted if _name(claim, number) not in taken), None)


async def take(tx: Transaction, claim: Claim, number: int, holder: str, term: float) -> bool:
    """Take a part for `term` seconds; False where somebody else reads it. Raise LeaseLost."""
    # Whoever ends the import forgets its leases; none must come after that.
    await leases.fence(tx, claim.lease)
    return await leases.take(tx, _name(claim, number), holder, term) is not None


async def forget(tx: Transaction, claim: Claim, number: int) -> None:
    """Forget who reads a part that is saved."""
    await leases.forget(tx, _name(claim, number))


def _name(claim: Claim, number: int | str) -> str:
    return f"{claim.lease.name}/{claim.lease.epoch}/{number}"


async def leave(tx: Transaction, claim: Claim, holder: str) -> None:
    """Let others read what `holder` has taken."""
    its = (_L.name.startswith(f"{claim.lease.name}/", autoescape=True), _L.holder == holder)
    await tx.execute(sa.update(LEASES).where(*its).values(holder="", expires=0.0))


async def forget_ended(tx: Transaction) -> None:
    """Forget who read parts of imports that replicas which know of none have ended."""
    whole = sa.alias(LEASES)
    is_led = sa.exists().where(_L.name.startswith(whole.c.name + "/"))
    await tx.execute(sa.delete(LEASES).where(_L.name.like(f"{LEASE_PREFIX}%/%"), sa.not_(is_led)))
