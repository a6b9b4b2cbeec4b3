"""Who has which role where; the installation is the project without a uid."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_access.model import ALL, Member, Roles
from bloomery_access.store.tables import MEMBERS, PROJECTS
from bloomery_kit.auth import Role
from bloomery_kit.database import Transaction, insert_ignore

EVERYWHERE = ""
"""In the place of a project's uid."""
_M = MEMBERS.c


async def put(tx: Transaction, uid: str, subject: str, role: Role, creator: str, now: datetime) -> None:
    """Give a subject a role, or another one."""
    row = {"project_uid": uid, "subject": subject, "role": role.value, "creator": creator, "create_time": now}
    if not await insert_ignore(tx, MEMBERS, row):
        changed = sa.update(MEMBERS).where(*_key(uid, subject), _M.role != role.value)
        await tx.execute(changed.values(role=role.value, creator=creator, create_time=now))


async def remove(tx: Transaction, uid: str, subject: str) -> None:
    """Take a role away; fine where there is none."""
    await tx.execute(sa.delete(MEMBERS).where(*_key(uid, subject)))


async def get(tx: Transaction, uid: str, project: str, subject: str) -> Member | None:
    """What a subject is in a project, by its uid and id."""
    row = (await tx.execute(sa.select(MEMBERS).where(*_key(uid, subject)))).one_or_none()
    return _member(row, project) if row else None


async def page(tx: Transaction, uid: str, project: str, after: str, size: int) -> list[Member]:
    """Members by subject."""
    query = sa.select(MEMBERS).where(_M.project_uid == uid, _M.subject > after).order_by(_M.subject).limit(size)
    return [_member(row, project) for row in await tx.execute(query)]


async def other_admins(tx: Transaction, uid: str, subject: str) -> bool:
    """Whether somebody else is an admin of a project."""
    query = sa.select(_M.subject).where(_M.project_uid == uid, _M.role == Role.ADMIN.value, _M.subject != subject)
    return (await tx.execute(query.limit(1))).first() is not None


async def count(tx: Transaction, subject: str) -> int:
    """In how many projects a subject has a role."""
    query = sa.select(sa.func.count()).where(_M.subject == subject, _M.project_uid != EVERYWHERE)
    return int(await tx.scalar(query) or 0)


async def roles(tx: Transaction, subjects: Collection[str]) -> Roles:
    """What somebody may do who is all of these subjects."""
    everywhere = sa.select(sa.func.max(_M.role)).where(_M.project_uid == EVERYWHERE, _M.subject.in_(subjects))
    found = (
        sa.select(PROJECTS.c.id, PROJECTS.c.uid, sa.func.max(_M.role).label("role"))
        .join(PROJECTS, PROJECTS.c.uid == _M.project_uid)
        .where(_M.subject.in_(subjects), PROJECTS.c.id.is_not(None))
        .group_by(PROJECTS.c.id, PROJECTS.c.uid)
        .order_by(PROJECTS.c.id)
    )
    rows = list(await tx.execute(found))
    role = Role(await tx.scalar(everywhere) or Role.UNSPECIFIED)
    return Roles(role, {row.id: Role(row.role) for row in rows}, {row.id: row.uid for row in rows})


def _key(uid: str, subject: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _M.project_uid == uid, _M.subject == subject


def _member(row: sa.Row[Any], project: str) -> Member:
    return Member(project or ALL, row.subject, Role(row.role), row.creator, row.create_time)
