"""Reading annotation sets: the newest, the past, and one moment of a project.

A set's shapes lie in its revisions only; pages are cut where their shapes would exceed a message.
"""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import AnnotationSet, Asset, Project, Provenance, Source
from bloomery_annotation.names import ANNOTATION_SET, MAIN_SET
from bloomery_annotation.store.keys import among, of_sets, one_of
from bloomery_annotation.store.tables import ANNOTATION_SETS, ASSETS, REVISIONS, SET_LABELS
from bloomery_kit.database import Transaction
from bloomery_kit.errors import NotFound

PAGE_BYTES = 4 << 20
"""Where a page of shapes ends, save that it holds at least one set."""

Condition = sa.ColumnElement[bool]

_R = REVISIONS.c
_S = ANNOTATION_SETS.c


async def find(tx: Transaction, asset: Asset, set_id: str, revision: int = 0) -> AnnotationSet:
    """A revision, 0 for the newest. Raise NotFound if there is none."""
    query = sa.select(REVISIONS).where(_R.asset_uid == asset.uid, _R.set_id == set_id)
    query = query.where(_R.revision == revision) if revision else query.order_by(_R.revision.desc()).limit(1)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        name = ANNOTATION_SET.format(project=asset.project_id, asset=asset.id, annotation_set=set_id)
        which = f"{name} at revision {revision}" if revision else name
        hint = "list its revisions" if revision else "list those of the image, or save it with allow_missing"
        raise NotFound("annotation set", which, hint)
    return _set(asset.project_id, row)


async def page(
    tx: Transaction, project: Project, asset_id: str | None, condition: Condition, after: tuple[str, str], size: int
) -> list[AnnotationSet]:
    """The newest sets of one asset, or of all, that fulfil a condition, by asset and id."""
    where = [_S.project_uid == project.uid, sa.tuple_(_S.asset_id, _S.id) > after, condition]
    if asset_id is not None:
        where.append(_S.asset_id == asset_id)
    newest = sa.and_(_R.asset_uid == _S.asset_uid, _R.set_id == _S.id, _R.revision == _S.revision)
    query = sa.select(_R.sequence, _R.size_bytes).join(ANNOTATION_SETS, newest).where(*where)
    rows = (await tx.execute(query.order_by(_S.asset_id, _S.id).limit(size))).all()
    return await _load(tx, project, rows)


def from_source(source: Source) -> Condition:
    """Whether people, an import or a model made a set."""
    return _S.source == source.value


def from_agent(agent: str) -> Condition:
    """Whether somebody made a set: a user, or the name of a model version or import."""
    return _S.agent == agent


async def of_agent(tx: Transaction, project: Project, source: Source, agent: str, size: int) -> list[tuple[str, str]]:
    """Some of the sets that somebody made, each as asset's uid and set's id."""
    where = (_S.project_uid == project.uid, _S.source == source.value, _S.agent == agent, _S.id != MAIN_SET)
    rows = await tx.execute(sa.select(_S.asset_uid, _S.id).where(*where).limit(size))
    return [(row.asset_uid, row.id) for row in rows]


async def history(
    tx: Transaction, project: Project, asset: Asset, set_id: str, before: int | None, size: int
) -> list[AnnotationSet]:
    """The revisions of a set, newest first, older than `before`."""
    where = [_R.asset_uid == asset.uid, _R.set_id == set_id]
    if before is not None:
        where.append(_R.revision < before)
    query = sa.select(_R.sequence, _R.size_bytes).where(*where)
    rows = (await tx.execute(query.order_by(_R.revision.desc()).limit(size))).all()
    return await _load(tx, project, rows)


async def at(
    tx: Transaction, project: Project, assets: Sequence[Asset], set_id: str, sequence: int
) -> list[tuple[Asset, AnnotationSet | None]]:
    """The first of the assets with their set as it was at `sequence`, as many as fit a page."""
    # The newest of its set by then, found by an index however many there are.
    by_then = (_R.asset_uid == ASSETS.c.uid, _R.set_id == set_id, _R.sequence <= sequence)

    def newest(column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
        return sa.select(column).where(*by_then).order_by(_R.sequence.desc()).limit(1).scalar_subquery()

    of_all = sa.select(ASSETS.c.uid, newest(_R.sequence).label("sequence"), newest(_R.size_bytes).label("size_bytes"))
    states = [(asset.uid, asset.since) for asset in assets]
    rows = (await tx.execute(of_all.where(among((ASSETS.c.uid, ASSETS.c.since), states)))).all()
    there = {row.uid: row for row in rows if row.sequence is not None}
    chosen = [there[asset.uid] for asset in assets if asset.uid in there]
    loaded = {found.asset_uid: found for found in await _load(tx, project, chosen)}
    pairs: list[tuple[Asset, AnnotationSet | None]] = []
    for asset in assets:
        if asset.uid in there and asset.uid not in loaded:
            break
        pairs.append((asset, loaded.get(asset.uid)))
    return pairs


async def newest(tx: Transaction, project: Project, keys: Collection[tuple[str, str]]) -> list[AnnotationSet]:
    """The newest revisions of the sets with these asset uids and set ids, as many as fit a page."""
    joined = sa.and_(_R.asset_uid == _S.asset_uid, _R.set_id == _S.id, _R.revision == _S.revision)
    query = sa.select(_R.sequence, _R.size_bytes).join(ANNOTATION_SETS, joined)
    rows = (await tx.execute(query.where(of_sets(_S.asset_uid, _S.id, keys)))).all()
    return await _load(tx, project, rows)


async def imported(tx: Transaction, asset_uids: Collection[str], set_id: str) -> set[str]:
    """Those of the assets whose set holds shapes that an import made, and that nobody changed since."""
    label = SET_LABELS.c
    some = sa.exists().where(label.asset_uid == _S.asset_uid, label.set_id == _S.id)
    where = (one_of(_S.asset_uid, asset_uids), _S.id == set_id, _S.source == Source.IMPORT.value, some)
    return set((await tx.execute(sa.select(_S.asset_uid).where(*where))).scalars())


async def _load(tx: Transaction, project: Project, rows: Sequence[sa.Row[Any]]) -> list[AnnotationSet]:
    chosen = _that_fit(rows)
    query = sa.select(REVISIONS).where(_R.project_uid == project.uid, _R.sequence.in_(chosen))
    found = {row.sequence: _set(project.id, row) for row in await tx.execute(query)} if chosen else {}
    return [found[sequence] for sequence in chosen]


def _that_fit(rows: Sequence[sa.Row[Any]]) -> list[int]:
    sequences: list[int] = []
    total = 0
    for row in rows:
        total += row.size_bytes
        if sequences and total > PAGE_BYTES:
            break
        sequences.append(row.sequence)
    return sequences


def _set(project_id: str, row: sa.Row[Any]) -> AnnotationSet:
    return AnnotationSet(
        project_id=project_id,
        asset_uid=row.asset_uid,
        asset_id=row.asset_id,
        id=row.set_id,
        revision=row.revision,
        sequence=row.sequence,
        blob=row.shapes,
        provenance=Provenance(Source(row.source), row.agent),
        author=row.author,
        create_time=row.create_time,
        update_time=row.update_time,
    )
