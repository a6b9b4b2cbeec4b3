"""Which project has an id; projects that are gone stay known, so that what was said of them too late counts no more."""

from collections.abc import Collection

import sqlalchemy as sa

from bloomery_access.store.tables import MEMBERS, PROJECTS
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.errors import NotFound

_P = PROJECTS.c


async def register(tx: Transaction, project: str, uid: str) -> bool:
    """Give an id to a project; False where that was done before, or the project is gone."""
    if await tx.scalar(sa.select(_P.uid).where(_P.uid == uid)):
        return False
    former = await tx.scalar(sa.select(_P.uid).where(_P.id == project).with_for_update())
    if former is not None:
        await forget(tx, former)
    return await insert_ignore(tx, PROJECTS, {"uid": uid, "id": project})


async def forget(tx: Transaction, uid: str) -> None:
    """Forget the id and the members of a project that is gone."""
    if not await insert_ignore(tx, PROJECTS, {"uid": uid, "id": None}):
        await tx.execute(sa.update(PROJECTS).where(_P.uid == uid).values(id=None))
    await tx.execute(sa.delete(MEMBERS).where(MEMBERS.c.project_uid == uid))


async def lock(tx: Transaction, project: str) -> str:
    """The uid of a project, whose members nobody else changes until the transaction ends. Raise NotFound."""
    uid = await tx.scalar(sa.select(_P.uid).where(_P.id == project).with_for_update())
    if uid is None:
        raise no_such(project)
    return str(uid)


def no_such(project: str) -> NotFound:
    """What is said of a project that is not there, or not known here yet."""
    return NotFound("project", f"projects/{project}", "list the projects")


async def uids(tx: Transaction, projects: Collection[str]) -> dict[str, str]:
    """The uids of those projects that are there, by id."""
    rows = await tx.execute(sa.select(_P.id, _P.uid).where(_P.id.in_(projects)))
    return {row.id: row.uid for row in rows}


async def ids(tx: Transaction, wanted: Collection[str]) -> dict[str, str]:
    """The ids of those projects that are there, by uid."""
    rows = await tx.execute(sa.select(_P.id, _P.uid).where(_P.uid.in_(wanted), _P.id.is_not(None)))
    return {row.uid: row.id for row in rows}
