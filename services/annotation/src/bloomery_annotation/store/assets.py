"""Images, now and at earlier sequences."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Asset, AssetDraft, Blob, Project, Source
from bloomery_annotation.names import ASSET, MAIN_SET, asset_id
from bloomery_annotation.store import projects
from bloomery_annotation.store.keys import one_of
from bloomery_annotation.store.tables import ANNOTATION_SETS, ASSETS, SET_LABELS
from bloomery_kit.database import Transaction, insert_all, insert_missing
from bloomery_kit.errors import NotFound
from bloomery_kit.names import new_uid
from bloomery_kit.sequences import next_sequence

_A = ASSETS.c
Condition = sa.ColumnElement[bool]
Order = tuple[sa.Column[Any], ...]
BY_CREATION: Order = (_A.created_sequence,)
BY_TIME: Order = (_A.timestamp_us, _A.created_sequence)
"""The order of the frames of one parent."""


async def ensure(
    tx: Transaction, project: Project, drafts: Sequence[tuple[AssetDraft, Blob]], now: datetime, most: int | None = None
) -> tuple[dict[str, Asset], int]:
    """The assets of a locked project by digest, made where they are missing, and how many were: `most` at most."""
    ids = {draft.digest: asset_id(draft.digest) for draft, _ in drafts}
    there = {asset.digest: asset for asset in await known(tx, project, ids.values())}
    missing = {draft.digest: (draft, blob) for draft, blob in reversed(drafts) if draft.digest not in there}
    new = list(reversed(missing.values()))[:most]
    if new:
        first = await next_sequence(tx, project.uid, len(new))
        made = [
            _made(project, draft, blob, ids[draft.digest], first + number, now)
            for number, (draft, blob) in enumerate(new)
        ]
        await insert_missing(tx, ASSETS, [_row(project, asset) for asset in made])
        await projects.count_assets(tx, project, len(made))
        there.update({asset.digest: asset for asset in made})
    return there, len(new)


async def find(tx: Transaction, project: Project, wanted: str) -> Asset:
    """Raise NotFound if there is none."""
    found = await known(tx, project, [wanted])
    if not found:
        raise missing(project.id, wanted)
    return found[0]


async def known(tx: Transaction, project: Project, ids: Collection[str]) -> list[Asset]:
    """Those of `ids` that are assets now."""
    rows = await tx.execute(sa.select(ASSETS).where(*_alive(project), one_of(_A.id, ids)))
    return [_asset(project, row) for row in rows]


async def by_uid(tx: Transaction, project: Project, uids: Collection[str]) -> list[Asset]:
    """The assets with these uids."""
    rows = await tx.execute(sa.select(ASSETS).where(*_alive(project), _A.uid.in_(uids)))
    return [_asset(project, row) for row in rows]


async def page(
    tx: Transaction, project: Project, condition: Condition, order: Order, after: Sequence[int], size: int
) -> list[Asset]:
    """Assets in an order, after the place `after` in it."""
    behind = sa.tuple_(*order) > sa.tuple_(*after) if after else sa.true()
    query = sa.select(ASSETS).where(*_alive(project), condition, behind)
    rows = await tx.execute(query.order_by(*order).limit(size))
    return [_asset(project, row) for row in rows]


def place(asset: Asset, order: Order) -> tuple[int, ...]:
    """Where an asset stands in an order."""
    places = {_A.created_sequence: asset.sequence, _A.timestamp_us: _microseconds(asset.timestamp)}
    return tuple(places[column] for column in order)


async def count(tx: Transaction, project: Project, condition: Condition) -> int:
    """How many fulfil the condition."""
    query = sa.select(sa.func.count()).select_from(ASSETS).where(*_alive(project), condition)
    return int(await tx.scalar(query) or 0)


async def at(tx: Transaction, project: Project, sequence: int, after: str, size: int) -> list[Asset]:
    """The assets that there were at `sequence`, by id."""
    then = (
        _A.project_uid == project.uid,
        _A.since <= sequence,
        sa.or_(_A.until.is_(None), _A.until > sequence),
    )
    rows = await tx.execute(sa.select(ASSETS).where(*then, _A.id > after).order_by(_A.id).limit(size))
    return [_asset(project, row) for row in rows]


async def change(tx: Transaction, project: Project, asset: Asset, values: Mapping[str, object]) -> Asset:
    """Give an asset of a locked project other fields; what it was before stays readable at earlier sequences."""
    return (await change_some(tx, project, [(asset, values)]))[0]


async def change_some(
    tx: Transaction, project: Project, changes: Sequence[tuple[Asset, Mapping[str, object]]]
) -> list[Asset]:
    """`change` for several assets, at least one, each of them once."""
    first = await next_sequence(tx, project.uid, len(changes))
    changed = [
        replace(asset, **values, since=first + number)  # type: ignore[arg-type]
        for number, (asset, values) in enumerate(changes)
    ]
    for asset in changed:
        await _end(tx, asset, asset.since)
    await insert_all(tx, ASSETS, [_row(project, asset) for asset in changed])
    return changed


async def bury(tx: Transaction, project: Project, asset: Asset) -> None:
    """Mark an asset of a locked project as deleted."""
    await _end(tx, asset, await next_sequence(tx, project.uid))
    await projects.count_assets(tx, project, -1)


async def _end(tx: Transaction, asset: Asset, sequence: int) -> None:
    await tx.execute(sa.update(ASSETS).where(_A.uid == asset.uid, _A.until.is_(None)).values(until=sequence))


def annotated() -> Condition:
    """Whether the asset has annotations of people or imports."""
    sets = ANNOTATION_SETS.c
    return sa.exists().where(sets.asset_uid == _A.uid, sets.id == MAIN_SET)


def suggested() -> Condition:
    """Whether a model's shapes wait there for a person."""
    sets, used = ANNOTATION_SETS.c, SET_LABELS.c
    some = sa.exists().where(used.asset_uid == sets.asset_uid, used.set_id == sets.id)
    of_model = (sets.asset_uid == _A.uid, sets.id != MAIN_SET, sets.source == Source.MODEL.value)
    return sa.exists().where(*of_model, some)


def carries(project: Project, label_id: str) -> Condition:
    """Whether a shape of its annotations carries the label."""
    used = SET_LABELS.c
    return sa.exists().where(
        used.project_uid == project.uid,
        used.label_id == label_id,
        used.asset_uid == _A.uid,
        used.set_id == MAIN_SET,
    )


def in_split(split: str) -> Condition:
    """Whether it came with that split."""
    return _A.split == split


def named(text: str) -> Condition:
    """Whether its display name contains the text, whatever the case."""
    return _A.display_name.icontains(text, autoescape=True)


def frames_of(parent_id: str) -> Condition:
    """Whether it is a frame of that asset."""
    return sa.and_(_A.parent == parent_id, _A.parent != "")


def missing(project_id: str, wanted: str) -> NotFound:
    """The error for an asset that is not there."""
    return NotFound("asset", ASSET.format(project=project_id, asset=wanted), "list the project's assets")


def _alive(project: Project) -> tuple[Condition, Condition]:
    return _A.project_uid == project.uid, _A.until.is_(None)


def _made(project: Project, draft: AssetDraft, blob: Blob, identifier: str, sequence: int, now: datetime) -> Asset:
    return Asset(
        project_id=project.id,
        uid=new_uid(),
        id=identifier,
        digest=draft.digest,
        display_name=draft.display_name,
        size_bytes=blob.size_bytes,
        media_type=blob.media_type,
        width=blob.width,
        height=blob.height,
        split=draft.split,
        labels=draft.labels,
        create_time=now,
        sequence=sequence,
        since=sequence,
        parent=draft.parent,
        timestamp=draft.timestamp,
        imported_split=draft.split,
        source_name=draft.source_name,
        source_id=draft.source_id,
    )


_FIELDS = (
    "uid",
    "id",
    "digest",
    "display_name",
    "size_bytes",
    "media_type",
    "width",
    "height",
    "split",
    "create_time",
    "since",
    "parent",
    "imported_split",
    "source_name",
    "source_id",
)


def _row(project: Project, asset: Asset) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(asset, name) for name in _FIELDS}
    return row | {
        "project_uid": project.uid,
        "labels": dict(asset.labels),
        "timestamp_us": _microseconds(asset.timestamp),
        "created_sequence": asset.sequence,
    }


def _asset(project: Project, row: sa.Row[Any]) -> Asset:
    return Asset(
        project_id=project.id,
        labels=row.labels,
        sequence=row.created_sequence,
        timestamp=timedelta(microseconds=row.timestamp_us),
        **{name: getattr(row, name) for name in _FIELDS},
    )


def _microseconds(time: timedelta) -> int:
    return time // timedelta(microseconds=1)
