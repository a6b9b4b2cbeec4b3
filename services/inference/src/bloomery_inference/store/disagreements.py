"""What two versions of a deployment disagreed about: the newest items, and how many there were."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from bloomery_inference.serving.model import Comparison, Disagreement
from bloomery_inference.store.tables import DEPLOYMENTS, DISAGREEMENTS
from bloomery_kit.database import Transaction, compare_and_set
from bloomery_kit.sequences import next_sequence

_D = DISAGREEMENTS.c
_KEPT = 1000


async def count(tx: Transaction, uid: str, seen: Comparison) -> bool:
    """Add up what was compared of a deployment; False where other variants are compared by now, or it is gone."""
    columns = DEPLOYMENTS.c
    pair = columns.compared_serving == seen.serving, columns.compared_candidate == seen.candidate
    values = {
        "compared": columns.compared + seen.compared,
        "disagreed": columns.disagreed + seen.disagreed,
        "skipped": columns.skipped + seen.skipped,
    }
    return await compare_and_set(tx, DEPLOYMENTS, columns.uid == uid, *pair, values=values)


async def keep(tx: Transaction, uid: str, item: Disagreement) -> None:
    """Keep an item of a deployment whose row this transaction has, and the newest of those before."""
    ordinal = await next_sequence(tx, f"disagreements/{uid}")
    row = asdict(item) | {"deployment_uid": uid, "ordinal": ordinal}
    await tx.execute(sa.insert(DISAGREEMENTS).values(row))
    await tx.execute(sa.delete(DISAGREEMENTS).where(_D.deployment_uid == uid, _D.ordinal <= ordinal - _KEPT))


async def page(tx: Transaction, uid: str, *, before: int | None, limit: int) -> list[Disagreement]:
    """Items of a deployment, the last first; of those before an ordinal."""
    query = sa.select(DISAGREEMENTS).where(_D.deployment_uid == uid).order_by(_D.ordinal.desc()).limit(limit)
    if before is not None:
        query = query.where(_D.ordinal < before)
    return [_item_of(row) for row in await tx.execute(query)]


def _item_of(row: sa.Row[Any]) -> Disagreement:
    return Disagreement(
        ordinal=row.ordinal,
        asset=row.asset,
        digest=row.digest,
        answered=row.answered,
        other=row.other,
        difference=row.difference,
        create_time=row.create_time,
    )
