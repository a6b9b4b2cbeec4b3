"""Writing annotation sets: many at once, each on its own terms, with the numbers of shapes kept right."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Asset, Project, Provenance, Source
from bloomery_annotation.saving import Head, Outcome, Saved, SetDraft, SetKey, plan
from bloomery_annotation.store import labels
from bloomery_annotation.store.keys import of_sets
from bloomery_annotation.store.tables import ANNOTATION_SETS, REVISIONS, SET_LABELS
from bloomery_kit.database import Transaction, insert_all
from bloomery_kit.errors import BloomeryError
from bloomery_kit.sequences import current, next_sequence

_BETWEEN = "\n"
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
        await _write(tx, project, writing, heads.keys())
    await _note(tx, [result for result in results if isinstance(result, Saved) and result.outcome is Outcome.NOTED])
    return results


async def forget(tx: Transaction, project: Project, asset: Asset) -> None:
    """Remove the current sets of an asset that is being deleted; the revisions stay for readers of earlier moments."""
    query = sa.select(_U.label_id, sa.func.sum(_U.shape_count).label("total")).where(_U.asset_uid == asset.uid)
    totals = {row.label_id: -int(row.total) for row in await tx.execute(query.group_by(_U.label_id))}
    await labels.add_counts(tx, project, totals)
    await tx.execute(sa.delete(SET_LABELS).where(_U.asset_uid == asset.uid))
    await tx.execute(sa.delete(ANNOTATION_SETS).where(_S.asset_uid == asset.uid))


async def remove(tx: Transaction, project: Project, keys: Sequence[SetKey]) -> None:
    """Remove sets of a locked project with their history."""
    await labels.add_counts(tx, project, {label: -count for label, count in (await _counted(tx, set(keys))).items()})
    for table, set_id in ((SET_LABELS, _U.set_id), (ANNOTATION_SETS, _S.id), (REVISIONS, REVISIONS.c.set_id)):
        await tx.execute(sa.delete(table).where(of_sets(table.c.asset_uid, set_id, keys)))


async def _heads(tx: Transaction, keys: Sequence[SetKey]) -> dict[SetKey, Head]:
    rows = await tx.execute(sa.select(ANNOTATION_SETS).where(of_sets(_S.asset_uid, _S.id, keys)))
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
        runs=tuple(row.run.split(_BETWEEN)) if row.run else (),
    )


async def _write(tx: Transaction, project: Project, writing: Sequence[Saved], there: AbstractSet[SetKey]) -> None:
    await insert_all(tx, REVISIONS, [_revision_row(project, saved) for saved in writing])
    last = {saved.draft.key: saved for saved in writing}
    deltas: Counter[str] = Counter()
    if replaced := last.keys() & there:
        deltas.subtract(await _counted(tx, replaced))
        await tx.execute(sa.delete(SET_LABELS).where(of_sets(_U.asset_uid, _U.set_id, replaced)))
        await tx.execute(sa.delete(ANNOTATION_SETS).where(of_sets(_S.asset_uid, _S.id, replaced)))
    await insert_all(tx, ANNOTATION_SETS, [_current_row(project, saved) for saved in last.values()])
    await insert_all(tx, SET_LABELS, [row for saved in last.values() for row in _label_rows(project, saved.draft)])
    for saved in last.values():
        deltas.update(saved.draft.shapes.counts)
    await labels.add_counts(tx, project, deltas)


async def _note(tx: Transaction, noted: Sequence[Saved]) -> None:
    """Write down which runs have saved what sets hold."""
    keys: dict[str, list[SetKey]] = {}
    for saved in noted:
        keys.setdefault(_BETWEEN.join(saved.head.runs), []).append(saved.draft.key)
    for runs, sets in keys.items():
        await tx.execute(sa.update(ANNOTATION_SETS).where(of_sets(_S.asset_uid, _S.id, sets)).values(run=runs))


async def _counted(tx: Transaction, keys: AbstractSet[SetKey]) -> Counter[str]:
    """How many shapes of some sets carry each label."""
    found: Counter[str] = Counter()
    query = sa.select(_U.label_id, _U.shape_count).where(of_sets(_U.asset_uid, _U.set_id, keys))
    for row in await tx.execute(query):
        found[row.label_id] += row.shape_count
    return found


def _label_rows(project: Project, draft: SetDraft) -> list[dict[str, object]]:
    common = {"asset_uid": draft.asset.uid, "set_id": draft.set_id, "project_uid": project.uid}
    return [common | {"label_id": label, "shape_count": count} for label, count in draft.shapes.counts.items()]


def _revision_row(project: Project, saved: Saved) -> dict[str, object]:
    blob = saved.draft.shapes.blob
    row = _common_row(project, saved)
    return row | {"set_id": saved.draft.set_id, "shapes": blob, "size_bytes": len(blob)}


def _current_row(project: Project, saved: Saved) -> dict[str, object]:
    facts = {"id": saved.draft.set_id, "shapes_digest": saved.head.shapes_digest, "run": _BETWEEN.join(saved.head.runs)}
    return _common_row(project, saved) | facts


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
