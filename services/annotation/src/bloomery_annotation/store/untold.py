"""What the access service has not been told of projects yet: that one is there, or is there no more."""

from dataclasses import dataclass

import sqlalchemy as sa

from bloomery_annotation.model import Project
from bloomery_annotation.store.tables import PROJECTS, UNTOLD_PROJECTS
from bloomery_kit.database import Transaction

_U = UNTOLD_PROJECTS.c


@dataclass(frozen=True)
class News:
    """A project that is there since `creator` made it, or that is `gone`."""

    uid: str
    project: str
    creator: str
    gone: bool


async def note_made(tx: Transaction, project: Project, creator: str) -> None:
    """Remember to tell that a project is there."""
    row = {"uid": project.uid, "project": project.id, "creator": creator, "gone": False}
    await tx.execute(sa.insert(UNTOLD_PROJECTS).values(row))


async def note_gone(tx: Transaction, project: Project) -> None:
    """Remember to tell that a locked project is gone, and no more that it was made."""
    await tx.execute(sa.delete(UNTOLD_PROJECTS).where(_U.uid == project.uid))
    row = {"uid": project.uid, "project": project.id, "creator": "", "gone": True}
    await tx.execute(sa.insert(UNTOLD_PROJECTS).values(row))


async def some(tx: Transaction, *, after: str = "", limit: int = 100) -> list[News]:
    """Some of what is to be told, by uid."""
    rows = await tx.execute(sa.select(UNTOLD_PROJECTS).where(_U.uid > after).order_by(_U.uid).limit(limit))
    return [News(row.uid, row.project, row.creator, row.gone) for row in rows]


async def of(tx: Transaction, project: str) -> list[News]:
    """What is to be told of the projects that have or had an id."""
    rows = await tx.execute(sa.select(UNTOLD_PROJECTS).where(_U.project == project).order_by(_U.uid))
    return [News(row.uid, row.project, row.creator, row.gone) for row in rows]


async def present(tx: Transaction) -> list[News]:
    """The projects that are there and of which nothing is noted; older versions of this service note nothing."""
    noted = sa.exists().where(_U.uid == PROJECTS.c.uid)
    rows = await tx.execute(sa.select(PROJECTS.c.uid, PROJECTS.c.id).where(~noted))
    return [News(row.uid, row.id, creator="", gone=False) for row in rows]


async def told(tx: Transaction, news: News) -> None:
    """Forget what was told, unless there is something newer to tell of the same project."""
    await tx.execute(sa.delete(UNTOLD_PROJECTS).where(_U.uid == news.uid, _U.gone == news.gone))
