"""Aliases of versions. Whoever changes one has the row of its model locked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_inference.model import Alias, AliasChange, Condition, Figure, Json, ModelVersion
from bloomery_inference.store.tables import ALIAS_CHANGES, ALIASES, MODELS, VERSIONS
from bloomery_kit.database import Transaction
from bloomery_kit.sequences import next_sequence

_EARLIER = ALIAS_CHANGES.alias()
_LAST = (
    sa.select(sa.func.max(_EARLIER.c.sequence))
    .where(_EARLIER.c.model_uid == ALIASES.c.model_uid, _EARLIER.c.alias == ALIASES.c.id)
    .correlate(ALIASES)
    .scalar_subquery()
)
_MADE_BY = sa.and_(
    ALIAS_CHANGES.c.model_uid == ALIASES.c.model_uid,
    ALIAS_CHANGES.c.alias == ALIASES.c.id,
    ALIAS_CHANGES.c.sequence == _LAST,
)
_SELECT = sa.select(
    ALIASES,
    ALIAS_CHANGES.c.figures,
    ALIAS_CHANGES.c.comparison,
    VERSIONS.c.number,
    MODELS.c.project,
    MODELS.c.id.label("model"),
).select_from(
    ALIASES.join(VERSIONS, VERSIONS.c.uid == ALIASES.c.version_uid)
    .join(MODELS, MODELS.c.uid == ALIASES.c.model_uid)
    .join(ALIAS_CHANGES, _MADE_BY)
)
_SELECT_CHANGES = sa.select(ALIAS_CHANGES, MODELS.c.project, MODELS.c.id.label("model")).select_from(
    ALIAS_CHANGES.join(MODELS)
)


def named(alias: str) -> sa.ScalarSelect[Any]:
    """The uid of the version that an alias names, inside a query of models."""
    query = sa.select(ALIASES.c.version_uid).where(ALIASES.c.model_uid == MODELS.c.uid, ALIASES.c.id == alias)
    return query.correlate(MODELS).scalar_subquery()


async def by_version(tx: Transaction, uids: Sequence[str]) -> dict[str, list[str]]:
    """The ids of the aliases that name some versions, by the version's uid, each in their order."""
    found: dict[str, list[str]] = {}
    if uids:
        query = sa.select(ALIASES.c.version_uid, ALIASES.c.id).where(ALIASES.c.version_uid.in_(uids))
        for row in await tx.execute(query.order_by(ALIASES.c.id)):
            found.setdefault(row.version_uid, []).append(row.id)
    return found


async def get(tx: Transaction, project: str, model: str, alias: str) -> Alias | None:
    """An alias by its ids."""
    query = _SELECT.where(MODELS.c.project == project, MODELS.c.id == model, ALIASES.c.id == alias)
    row = (await tx.execute(query)).one_or_none()
    return _alias_of(row) if row else None


async def page(tx: Transaction, project: str, model: str, *, after: str, limit: int) -> list[Alias]:
    """The aliases of a model by id, past `after`."""
    query = _SELECT.where(MODELS.c.project == project, MODELS.c.id == model, ALIASES.c.id > after)
    return [_alias_of(row) for row in await tx.execute(query.order_by(ALIASES.c.id).limit(limit))]


@dataclass(frozen=True)
class Change:
    """Who changes an alias when, why, and what was measured for it."""

    by: str
    reason: str
    now: datetime
    figures: tuple[Figure, ...] = ()
    comparison: Mapping[str, Json] | None = None


async def put(tx: Transaction, model_uid: str, alias: str, version: ModelVersion, change: Change) -> None:
    """Let an alias name a version, and remember that."""
    before = await _number(tx, model_uid, alias)
    values = {"version_uid": version.uid, "reason": change.reason, "updater": change.by, "update_time": change.now}
    key = {"model_uid": model_uid, "id": alias}
    if before:
        await tx.execute(sa.update(ALIASES).where(*_key(model_uid, alias)).values(values))
    else:
        await tx.execute(sa.insert(ALIASES).values(key | values))
    await _remember(tx, model_uid, alias, before, version.number, change)


async def remove(tx: Transaction, model_uid: str, alias: str, change: Change) -> None:
    """Forget an alias that is there, and remember that."""
    before = await _number(tx, model_uid, alias)
    await tx.execute(sa.delete(ALIASES).where(*_key(model_uid, alias)))
    await _remember(tx, model_uid, alias, before, 0, change)


async def changes(
    tx: Transaction, project: str, model: str, alias: str, *, before: int | None, limit: int
) -> list[AliasChange]:
    """What became of an alias, the last first; of what was before a place in the order."""
    query = _SELECT_CHANGES.where(MODELS.c.project == project, MODELS.c.id == model, ALIAS_CHANGES.c.alias == alias)
    if before is not None:
        query = query.where(ALIAS_CHANGES.c.sequence < before)
    rows = await tx.execute(query.order_by(ALIAS_CHANGES.c.sequence.desc()).limit(limit))
    return [_change_of(row) for row in rows]


async def delete_all(tx: Transaction, model_uid: str) -> None:
    """Forget all aliases of a model that goes, and their history."""
    await tx.execute(sa.delete(ALIASES).where(ALIASES.c.model_uid == model_uid))
    await tx.execute(sa.delete(ALIAS_CHANGES).where(ALIAS_CHANGES.c.model_uid == model_uid))


async def _number(tx: Transaction, model_uid: str, alias: str) -> int:
    joined = ALIASES.join(VERSIONS, VERSIONS.c.uid == ALIASES.c.version_uid)
    query = sa.select(VERSIONS.c.number).select_from(joined).where(*_key(model_uid, alias))
    return int(await tx.scalar(query) or 0)


async def _remember(tx: Transaction, model_uid: str, alias: str, before: int, after: int, change: Change) -> None:
    row = {
        "model_uid": model_uid,
        "alias": alias,
        "sequence": await next_sequence(tx, f"aliases/{model_uid}"),
        "from_version": before,
        "to_version": after,
        "reason": change.reason,
        "changer": change.by,
        "figures": [asdict(figure) for figure in change.figures],
        "create_time": change.now,
        "comparison": change.comparison,
    }
    await tx.execute(sa.insert(ALIAS_CHANGES).values(row))


def _key(model_uid: str, alias: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return ALIASES.c.model_uid == model_uid, ALIASES.c.id == alias


def _alias_of(row: sa.Row[Any]) -> Alias:
    return Alias(
        project=row.project,
        model=row.model,
        id=row.id,
        number=row.number,
        reason=row.reason,
        updater=row.updater,
        update_time=row.update_time,
        figures=_figures(row),
        comparison=row.comparison,
    )


def _figures(row: sa.Row[Any]) -> tuple[Figure, ...]:
    return tuple(Figure(**one | {"condition": Condition(**one["condition"])}) for one in row.figures)


def _change_of(row: sa.Row[Any]) -> AliasChange:
    return AliasChange(
        project=row.project,
        model=row.model,
        alias=row.alias,
        sequence=row.sequence,
        from_version=row.from_version,
        to_version=row.to_version,
        reason=row.reason,
        changer=row.changer,
        figures=_figures(row),
        create_time=row.create_time,
        comparison=row.comparison,
    )
