"""Who is in which project."""

from datetime import UTC, datetime

from bloomery_access.model import ALL, RESERVED, Member
from bloomery_access.store import members, projects
from bloomery_kit.auth import Principal, Role
from bloomery_kit.database import Database, Transaction
from bloomery_kit.database_clock import read_clock
from bloomery_kit.errors import FailedPrecondition

_PROJECTS = 1000
"""Roles in so many projects still pass from service to service with each call."""


class Membership:
    """Members of projects, and of the installation as that of the project `-`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, project: str, subject: str, role: Role, caller: Principal) -> Member:
        """Give a subject a role. Raise NotFound, FailedPrecondition LAST_ADMIN or TOO_MANY_PROJECTS."""
        async with self._db.write() as tx:
            uid = await _lock(tx, project)
            known = await members.get(tx, uid, project, subject)
            if known is None and project != ALL and await members.count(tx, subject) >= _PROJECTS:
                message = f"{subject} has a role in {_PROJECTS} projects; give it one in the whole installation"
                raise FailedPrecondition("TOO_MANY_PROJECTS", message)
            if role is not Role.ADMIN:
                await _keep_an_admin(tx, uid, known, caller)
            now = datetime.fromtimestamp(await read_clock(tx), UTC)
            await members.put(tx, uid, subject, role, caller.subject, now)
            member = await members.get(tx, uid, project, subject)
        assert member is not None
        return member

    async def remove(self, project: str, subject: str, caller: Principal) -> None:
        """Take a role away; fine where there is none. Raise NotFound, FailedPrecondition LAST_ADMIN."""
        async with self._db.write() as tx:
            uid = await _lock(tx, project)
            await _keep_an_admin(tx, uid, await members.get(tx, uid, project, subject), caller)
            await members.remove(tx, uid, subject)

    async def page(self, project: str, after: str, size: int) -> list[Member]:
        """Members by subject. Raise NotFound."""
        async with self._db.read() as tx:
            uid = members.EVERYWHERE if project == ALL else (await projects.uids(tx, [project])).get(project)
            if uid is None:
                raise projects.no_such(project)
            return await members.page(tx, uid, project, after, size)

    async def register(self, project: str, uid: str, creator: str) -> None:
        """Make a project known, whose creator becomes its admin."""
        async with self._db.write() as tx:
            if await projects.register(tx, project, uid) and creator not in ("", *RESERVED):
                now = datetime.fromtimestamp(await read_clock(tx), UTC)
                await members.put(tx, uid, creator, Role.ADMIN, creator, now)

    async def forget(self, uid: str) -> None:
        """Forget a project that is gone."""
        async with self._db.write() as tx:
            await projects.forget(tx, uid)


async def _lock(tx: Transaction, project: str) -> str:
    return members.EVERYWHERE if project == ALL else await projects.lock(tx, project)


async def _keep_an_admin(tx: Transaction, uid: str, known: Member | None, caller: Principal) -> None:
    """Raise FailedPrecondition LAST_ADMIN where a project would be left without one by somebody who may not do that."""
    if uid == members.EVERYWHERE or known is None or known.role is not Role.ADMIN or caller.may(Role.ADMIN):
        return
    if not await members.other_admins(tx, uid, known.subject):
        message = f"{known.subject} is the last admin of projects/{known.project}; make somebody else one first"
        raise FailedPrecondition("LAST_ADMIN", message)
