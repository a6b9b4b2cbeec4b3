"""Projects, and who needs them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Project, Reference
from bloomery_annotation.names import PROJECT
from bloomery_annotation.store.tables import DELETED_PROJECTS, PROJECT_REFERENCES, PROJECTS, SEQUENCES
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.errors import AlreadyExists, FailedPrecondition, NotFound, PreconditionViolation
from bloomery_kit.idempotency import forget_answers

_P = PROJECTS.c
_HOLDERS_SHOWN = 100
_SELECT = sa.select(PROJECTS, sa.func.coalesce(SEQUENCES.c.value, 0).label("sequence")).outerjoin(
    SEQUENCES, SEQUENCES.c.key == _P.uid
)


async def create(tx: Transaction, project: Project) -> None:
    """Raise AlreadyExists if the id is taken."""
    row = {
        "id": project.id,
        "uid": project.uid,
        "display_name": project.display_name,
        "labels": dict(project.labels),
        "create_time": project.create_time,
        "update_time": project.update_time,
        "revision": project.revision,
        "asset_count": 0,
    }
    if not await insert_ignore(tx, PROJECTS, row):
        raise AlreadyExists("project", project.name)


async def find(tx: Transaction, project_id: str) -> Project:
    """Raise NotFound if there is none."""
    row = (await tx.execute(_SELECT.where(_P.id == project_id))).one_or_none()
    return _found(row, project_id)


async def lock(tx: Transaction, project_id: str) -> Project:
    """The project, kept as it is until the transaction ends; every writer inside a project does this first."""
    # Whoever waits for a row gets it as it is then, but what is joined to it as it was before the wait.
    await tx.execute(sa.select(_P.uid).where(_P.id == project_id).with_for_update())
    return await find(tx, project_id)


async def page(tx: Transaction, after: str, size: int) -> list[Project]:
    """Projects by id."""
    rows = await tx.execute(_SELECT.where(_P.id > after).order_by(_P.id).limit(size))
    return [_project(row) for row in rows]


async def count(tx: Transaction) -> int:
    """How many there are."""
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(PROJECTS)) or 0)


async def change(tx: Transaction, project: Project, values: Mapping[str, object], now: datetime) -> Project:
    """Set fields of a locked project."""
    new = {**values, "update_time": now, "revision": project.revision + 1}
    await tx.execute(sa.update(PROJECTS).where(_P.uid == project.uid).values(new))
    return await find(tx, project.id)


async def count_assets(tx: Transaction, project: Project, delta: int) -> None:
    """Correct the number of assets."""
    await tx.execute(sa.update(PROJECTS).where(_P.uid == project.uid).values(asset_count=_P.asset_count + delta))


async def delete(tx: Transaction, project: Project, now: datetime) -> None:
    """Delete a locked project; what it owned is left to `graves`. Raise FailedPrecondition if somebody needs it."""
    held = [row.holder for row in await _references(tx, project)]
    if held:
        violations = [PreconditionViolation("STILL_REFERENCED", holder, "delete it first") for holder in held]
        raise FailedPrecondition("STILL_REFERENCED", f"{project.name} is needed by {', '.join(held[:3])}", violations)
    await tx.execute(sa.delete(PROJECTS).where(_P.uid == project.uid))
    await tx.execute(sa.delete(SEQUENCES).where(SEQUENCES.c.key.startswith(project.uid)))
    await insert_ignore(tx, DELETED_PROJECTS, {"uid": project.uid, "delete_time": now})
    await forget_answers(tx, project.name)


async def acquire(tx: Transaction, project: Project, holder: str, now: datetime) -> Reference:
    """Hold a locked project for `holder`."""
    row = {"project_uid": project.uid, "holder": holder, "create_time": now}
    await insert_ignore(tx, PROJECT_REFERENCES, row)
    held = PROJECT_REFERENCES.c
    condition = (held.project_uid == project.uid, held.holder == holder)
    create_time = await tx.scalar(sa.select(held.create_time).where(*condition))
    assert create_time is not None
    return Reference(holder, project.name, create_time)


async def release(tx: Transaction, project: Project, holder: str) -> None:
    """Let go of it; fine if it is not held."""
    held = PROJECT_REFERENCES.c
    await tx.execute(sa.delete(PROJECT_REFERENCES).where(held.project_uid == project.uid, held.holder == holder))


async def _references(tx: Transaction, project: Project) -> Sequence[sa.Row[Any]]:
    held = PROJECT_REFERENCES.c
    query = sa.select(held.holder).where(held.project_uid == project.uid).order_by(held.holder).limit(_HOLDERS_SHOWN)
    return (await tx.execute(query)).all()


def _found(row: sa.Row[Any] | None, project_id: str) -> Project:
    if row is None:
        raise NotFound("project", PROJECT.format(project=project_id), "list the projects")
    return _project(row)


def _project(row: sa.Row[Any]) -> Project:
    return Project(
        id=row.id,
        uid=row.uid,
        display_name=row.display_name,
        labels=row.labels,
        create_time=row.create_time,
        update_time=row.update_time,
        revision=row.revision,
        asset_count=row.asset_count,
        sequence=row.sequence,
    )
