"""Labels and the number of shapes that carry each."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Label, Project
from bloomery_annotation.names import LABEL
from bloomery_annotation.store.keys import one_of
from bloomery_annotation.store.tables import LABELS, PROJECTS, SET_LABELS
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.errors import AlreadyExists, NotFound
from bloomery_kit.sequences import next_sequence

_L = LABELS.c
_FORMER_NAMES = 20


async def next_position(tx: Transaction, project: Project, count: int = 1) -> int:
    """The place of the next label in the order of creation."""
    return await next_sequence(tx, f"{project.uid}/labels", count)


async def create(tx: Transaction, project: Project, label: Label) -> None:
    """Raise AlreadyExists if the id or the display name is taken."""
    if not await insert_ignore(tx, LABELS, _row(project, label)):
        raise await _taken(tx, project, label)


async def create_some(tx: Transaction, project: Project, new: Sequence[Label]) -> None:
    """Store labels of a locked project whose ids and display names are free."""
    await tx.execute(sa.insert(LABELS), [_row(project, label) for label in new])


async def find(tx: Transaction, project: Project, label_id: str) -> Label:
    """Raise NotFound if there is none."""
    row = (await tx.execute(sa.select(LABELS).where(_L.project_uid == project.uid, _L.id == label_id))).one_or_none()
    if row is None:
        raise NotFound("label", LABEL.format(project=project.id, label=label_id), "list the project's labels")
    return _label(project.id, row)


async def everything(tx: Transaction, project: Project) -> list[Label]:
    """All labels of a project by position; there are few."""
    return await page(tx, project, 0, None)


async def page(tx: Transaction, project: Project, after: int, size: int | None) -> list[Label]:
    """Labels by position."""
    query = sa.select(LABELS).where(_L.project_uid == project.uid, _L.position > after).order_by(_L.position)
    return [_label(project.id, row) for row in await tx.execute(query.limit(size))]


async def count(tx: Transaction, project: Project) -> int:
    """How many there are."""
    query = sa.select(sa.func.count()).select_from(LABELS).where(_L.project_uid == project.uid)
    return int(await tx.scalar(query) or 0)


async def change(tx: Transaction, project: Project, label: Label, values: Mapping[str, object], now: datetime) -> Label:
    """Set fields of a label of a locked project, which keeps its former name. Raise AlreadyExists if one is taken."""
    wanted = values.get("display_name", label.display_name)
    query = sa.select(_L.id).where(_L.project_uid == project.uid, _L.display_name == wanted, _L.id != label.id)
    if (other := await tx.scalar(query)) is not None:
        raise AlreadyExists("label", LABEL.format(project=project.id, label=other))
    former = [name for name in (label.display_name, *label.former_names) if name != wanted][:_FORMER_NAMES]
    new = {**values, "former_names": former, "update_time": now, "revision": label.revision + 1}
    await tx.execute(sa.update(LABELS).where(_L.project_uid == project.uid, _L.id == label.id).values(new))
    return await find(tx, project, label.id)


async def delete(tx: Transaction, project: Project, label: Label) -> None:
    """Delete a label that no shape carries."""
    await tx.execute(sa.delete(LABELS).where(_L.project_uid == project.uid, _L.id == label.id))


async def mark_deleted(tx: Transaction, project: Project, label: Label, author: str) -> Label:
    """Let no more shapes carry a label, which `author` deletes; the first to do so counts."""
    where = (_L.project_uid == project.uid, _L.id == label.id, _L.deleted_by == "")
    await tx.execute(sa.update(LABELS).where(*where).values(deleted_by=author))
    return await find(tx, project, label.id)


async def marked(tx: Transaction) -> list[Label]:
    """The labels of all projects that somebody is deleting."""
    query = sa.select(LABELS, PROJECTS.c.id.label("project_id")).join(PROJECTS, PROJECTS.c.uid == _L.project_uid)
    rows = await tx.execute(query.where(_L.deleted_by != ""))
    return [_label(row.project_id, row) for row in rows]


async def is_there(tx: Transaction, project: Project, label: Label) -> bool:
    """Whether it is still there, and not another one with its id."""
    query = sa.select(_L.uid).where(_L.project_uid == project.uid, _L.uid == label.uid)
    return await tx.scalar(query) is not None


async def known(tx: Transaction, project: Project, ids: Collection[str]) -> set[str]:
    """Those of `ids` that are labels and that nobody is deleting."""
    where = (_L.project_uid == project.uid, one_of(_L.id, ids), _L.deleted_by == "")
    return set((await tx.execute(sa.select(_L.id).where(*where))).scalars())


async def add_counts(tx: Transaction, project: Project, deltas: Mapping[str, int]) -> None:
    """Correct the numbers of shapes."""
    changed = [{"label": label, "delta": delta} for label, delta in sorted(deltas.items()) if delta]
    if changed:
        where = (_L.project_uid == project.uid, _L.id == sa.bindparam("label"))
        statement = sa.update(LABELS).where(*where).values(shape_count=_L.shape_count + sa.bindparam("delta"))
        await tx.execute(statement, changed)


async def carriers(tx: Transaction, project: Project, label: Label, size: int) -> list[tuple[str, str]]:
    """Some sets with shapes that carry the label, each as asset's uid and set's id."""
    used = SET_LABELS.c
    query = sa.select(used.asset_uid, used.set_id).where(used.project_uid == project.uid, used.label_id == label.id)
    return [(row.asset_uid, row.set_id) for row in await tx.execute(query.limit(size))]


async def _taken(tx: Transaction, project: Project, label: Label) -> AlreadyExists:
    same_name = (_L.project_uid == project.uid, _L.display_name == label.display_name)
    holder = await tx.scalar(sa.select(_L.id).where(*same_name))
    return AlreadyExists("label", LABEL.format(project=project.id, label=holder or label.id))


def _row(project: Project, label: Label) -> dict[str, object]:
    return {
        "project_uid": project.uid,
        "id": label.id,
        "uid": label.uid,
        "display_name": label.display_name,
        "color": label.color,
        "create_time": label.create_time,
        "update_time": label.update_time,
        "position": label.position,
        "revision": label.revision,
        "shape_count": 0,
        "former_names": [],
        "supercategory": label.supercategory,
        "source_id": label.source_id,
    }


def _label(project_id: str, row: sa.Row[Any]) -> Label:
    return Label(
        project_id=project_id,
        id=row.id,
        uid=row.uid,
        display_name=row.display_name,
        color=row.color,
        create_time=row.create_time,
        update_time=row.update_time,
        position=row.position,
        revision=row.revision,
        shape_count=row.shape_count,
        deleted_by=row.deleted_by,
        former_names=row.former_names,
        supercategory=row.supercategory,
        source_id=row.source_id,
    )
