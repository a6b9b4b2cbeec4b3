"""Projects, and who needs them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Project, Reference
from bloomery_annotation.names import PROJECT
from bloomery_annotation.store import untold
from bloomery_annotation.store.tables import BLOBS, DELETED_PROJECTS, PROJECT_REFERENCES, PROJECTS, SEQUENCES
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.errors import AlreadyExists, FailedPrecondition, NotFound, PreconditionViolation, Unavailable
from bloomery_kit.idempotency import forget_answers
from bloomery_kit.visible import shown

_P = PROJECTS.c
_H = PROJECT_REFERENCES.c
_HOLDERS_SHOWN = 100
_SELECT = sa.select(PROJECTS, sa.func.coalesce(SEQUENCES.c.value, 0).label("sequence")).outerjoin(
    SEQUENCES, SEQUENCES.c.key == _P.uid
)


async def create(tx: Transaction, project: Project, creator: str) -> None:
    """Raise AlreadyExists if the id is taken, Unavailable where the one that had it before is not forgotten yet."""
    row = {
        "id": project.id,
        "uid": project.uid,
        "display_name": project.display_name,
        "labels": dict(project.labels),
        "create_time": project.create_time,
        "update_time": project.update_time,
        "revision": project.revision,
        "asset_count": 0,
        "size_bytes": 0,
    }
    if not await insert_ignore(tx, PROJECTS, row):
        raise AlreadyExists("project", project.name)
    if await untold.of(tx, project.id):
        raise Unavailable("STILL_FORGETTING", f"{project.name} was deleted a moment ago, and is still being forgotten")
    await untold.note_made(tx, project, creator)


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
    """Projects by id, as far as the caller may see them."""
    rows = await tx.execute(_SELECT.where(_P.id > after, *shown(_P.id, None)).order_by(_P.id).limit(size))
    return [_project(row) for row in rows]


async def count(tx: Transaction) -> int:
    """How many there are."""
    return int(await tx.scalar(sa.select(sa.func.count()).select_from(PROJECTS).where(*shown(_P.id, None))) or 0)


async def change(tx: Transaction, project: Project, values: Mapping[str, object], now: datetime) -> Project:
    """Set fields of a locked project."""
    new = {**values, "update_time": now, "revision": project.revision + 1}
    await tx.execute(sa.update(PROJECTS).where(_P.uid == project.uid).values(new))
    return await find(tx, project.id)


async def count_assets(tx: Transaction, project: Project, delta: int) -> None:
    """Correct the number of assets."""
    await tx.execute(sa.update(PROJECTS).where(_P.uid == project.uid).values(asset_count=_P.asset_count + delta))


async def count_bytes(tx: Transaction, project_uid: str, delta: int) -> None:
    """Correct the bytes of a locked project's blobs."""
    if delta:
        where = _P.uid == project_uid
        await tx.execute(sa.update(PROJECTS).where(where).values(size_bytes=_P.size_bytes + delta))


async def recount_bytes(tx: Transaction, project: Project) -> None:
    """Count the bytes of a locked project's blobs anew: an older version of this service does not count."""
    total = sa.select(sa.func.coalesce(sa.func.sum(BLOBS.c.size_bytes), 0))
    total = total.where(BLOBS.c.project_uid == project.uid, BLOBS.c.going.is_(False))
    counted = sa.cast(total.scalar_subquery(), sa.BigInteger)
    await tx.execute(sa.update(PROJECTS).where(_P.uid == project.uid).values(size_bytes=counted))


async def count_sweep(tx: Transaction, project: Project) -> None:
    """Tell uploads that blobs are being collected."""
    await tx.execute(sa.update(PROJECTS).where(_P.uid == project.uid).values(sweeps=_P.sweeps + 1))


async def delete(tx: Transaction, project: Project, now: datetime) -> None:
    """Delete a locked project; what it owned is left to `graves`. Raise FailedPrecondition if somebody needs it."""
    if held := await references(tx, project, "", _HOLDERS_SHOWN):
        violations = [PreconditionViolation("STILL_REFERENCED", one.title, "delete it first") for one in held]
        titles = list(dict.fromkeys(one.title for one in held))
        named = ", ".join(titles[:3]) + (", ..." if len(titles) > 3 else "")
        raise FailedPrecondition("STILL_REFERENCED", f"{project.name} is needed by {named}", violations)
    await tx.execute(sa.delete(PROJECTS).where(_P.uid == project.uid))
    await tx.execute(sa.delete(SEQUENCES).where(SEQUENCES.c.key.startswith(project.uid)))
    await insert_ignore(tx, DELETED_PROJECTS, {"uid": project.uid, "delete_time": now})
    await untold.note_gone(tx, project)
    await forget_answers(tx, project.name)


async def acquire(tx: Transaction, project: Project, holder: str, title: str, now: datetime) -> Reference:
    """Hold a locked project for `holder`, which people call `title`."""
    row = {"project_uid": project.uid, "holder": holder, "create_time": now, "title": title}
    await insert_ignore(tx, PROJECT_REFERENCES, row)
    where = (_H.project_uid == project.uid, _H.holder == holder)
    await tx.execute(sa.update(PROJECT_REFERENCES).where(*where).values(title=title))
    return _reference(project, (await tx.execute(sa.select(PROJECT_REFERENCES).where(*where))).one())


async def references(tx: Transaction, project: Project, after: str, size: int) -> list[Reference]:
    """Who holds a project, by holder."""
    query = sa.select(PROJECT_REFERENCES).where(_H.project_uid == project.uid, _H.holder > after)
    return [_reference(project, row) for row in await tx.execute(query.order_by(_H.holder).limit(size))]


async def release(tx: Transaction, project: Project, holder: str) -> None:
    """Let go of it; fine if it is not held."""
    await tx.execute(sa.delete(PROJECT_REFERENCES).where(_H.project_uid == project.uid, _H.holder == holder))


def _reference(project: Project, row: sa.Row[Any]) -> Reference:
    title = row.title or row.holder.removeprefix(f"{project.name}/")
    return Reference(row.holder, project.name, row.create_time, title)


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
        sweeps=row.sweeps,
        size_bytes=row.size_bytes,
    )
