"""Writing annotation sets: many at once, each on its own terms, with the numbers of shapes kept right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Asset, Project, Provenance, Source
from bloomery_annotation.saving import Head, Outcome, Saved, SetDraft, SetKey, plan
from bloomery_annotation.store import labels
from bloomery_annotation.store.keys import among
from bloomery_annotation.store.tables import ANNOTATION_SETS, REVISIONS, SET_LABELS
from bloomery_kit.database import Transaction
from bloomery_kit.errors import BloomeryError
from bloomery_kit.sequences import current, next_sequence

_S = ANNOTATION_SETS.c
_U = SET_LABELS.c


async def save(
    tx: Transaction, project: Project, drafts: Sequence[SetDraft], now: datetime
) -> list[Saved | BloomeryError]:
    """Save drafts on assets of a locked project, in order; one that is refused does not stop the others."""
    known = await labels.known(tx, project, {label for draft in drafts for label in draft.shapes.counts})
    heads = await _heads(tx, [draft.key for draft in drafts])
    sequence = await current(tx, project.uid) + 1
    results = plan(drafts, heads, known, sequence=sequence, now=now)
    writing = [result for result in results if isinstance(result, Saved) and result.outcome is Outcome.SAVE]
    if writing:
        claimed = await next_sequence(tx, project.uid, len(writing))
        assert claimed == sequence, "somebody writes without the project's lock"
        await _write(tx, project, writing)
    return results


async def forget(tx: Transaction, project: Project, asset: Asset) -> None:
    """Remove the current sets of an asset that is being deleted; the revisions stay for readers of earlier moments."""
    query = sa.select(_U.label_id, sa.func.sum(_U.shape_count).label("total")).where(_U.asset_uid == asset.uid)
    totals = {row.label_id: -int(row.total) for row in await tx.execute(query.group_by(_U.label_id))}
    await labels.add_counts(tx, project, totals)
    await tx.execute(sa.delete(SET_LABELS).where(_U.asset_uid == asset.uid))
    await tx.execute(sa.delete(ANNOTATION_SETS).where(_S.asset_uid == asset.uid))


async def _heads(tx: Transaction, keys: Sequence[SetKey]) -> dict[SetKey, Head]:
    rows = await tx.execute(sa.select(ANNOTATION_SETS).where(among((_S.asset_uid, _S.id), keys)))
    return {(row.asset_uid, row.id): _head(row) for row in rows}


def _head(row: sa.Row[Any]) -> Head:
    return Head(
        revision=row.revision,
        sequence=row.sequence,
        shapes_digest=row.shapes_digest,
        provenance=Provenance(Source(row.source), row.agent),
        author=row.author,
        create_time=row.create_time,
        update_time=row.update_time,
    )


async def _write(tx: Transaction, project: Project, writing: Sequence[Saved]) -> None:
    await tx.execute(sa.insert(REVISIONS), [_revision_row(project, saved) for saved in writing])
    last = {saved.draft.key: saved for saved in writing}
    await tx.execute(sa.delete(ANNOTATION_SETS).where(among((_S.asset_uid, _S.id), last)))
    await tx.execute(sa.insert(ANNOTATION_SETS), [_current_row(project, saved) for saved in last.values()])
    await _recount(tx, project, {key: saved.draft.shapes.counts for key, saved in last.items()})


def _revision_row(project: Project, saved: Saved) -> dict[str, object]:
    blob = saved.draft.shapes.blob
    row = _common_row(project, saved)
    return row | {"set_id": saved.draft.set_id, "shapes": blob, "size_bytes": len(blob)}


def _current_row(project: Project, saved: Saved) -> dict[str, object]:
    return _common_row(project, saved) | {"id": saved.draft.set_id, "shapes_digest": saved.head.shapes_digest}


def _common_row(project: Project, saved: Saved) -> dict[str, object]:
    head = saved.head
    return {
        "asset_uid": saved.draft.asset.uid,
        "project_uid": project.uid,
        "asset_id": saved.draft.asset.id,
        "revision": head.revision,
        "sequence": head.sequence,
        "source": head.provenance.source.value,
        "agent": head.provenance.agent,
        "author": head.author,
        "create_time": head.create_time,
        "update_time": head.update_time,
    }


async def _recount(tx: Transaction, project: Project, counts: Mapping[SetKey, Mapping[str, int]]) -> None:
    changed = among((_U.asset_uid, _U.set_id), counts)
    deltas: Counter[str] = Counter()
    for row in await tx.execute(sa.select(_U.label_id, _U.shape_count).where(changed)):
        deltas[row.label_id] -= row.shape_count
    await tx.execute(sa.delete(SET_LABELS).where(changed))
    rows = [
        {"asset_uid": key[0], "set_id": key[1], "label_id": label, "project_uid": project.uid, "shape_count": count}
        for key, per_label in counts.items()
        for label, count in per_label.items()
    ]
    if rows:
        await tx.execute(sa.insert(SET_LABELS), rows)
    for per_label in counts.values():
        deltas.update(per_label)
    await labels.add_counts(tx, project, deltas)
