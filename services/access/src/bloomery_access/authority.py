"""Whose credentials somebody shows, and what that lets them do now."""

import hmac
from datetime import UTC, datetime, timedelta

from bloomery_access import bearer
from bloomery_access.issuer import Issuer
from bloomery_access.model import GROUP, Identity, Roles, Token
from bloomery_access.store import members, projects, tokens
from bloomery_kit.auth import OWNER, Role
from bloomery_kit.callers import EXPIRED, REVOKED, UNKNOWN
from bloomery_kit.database import Database, Transaction
from bloomery_kit.database_clock import read_clock
from bloomery_kit.errors import Unauthenticated
from bloomery_kit.loops import guarded

_NOTED_EVERY = timedelta(minutes=10)
_USE = "last use of a token"


class Authority:
    """Knows tokens of this service and, where there is one, the issuer's."""

    def __init__(self, db: Database, issuer: Issuer | None, group_roles: dict[str, Role]) -> None:
        self._db = db
        self._issuer = issuer
        self._group_roles = group_roles

    async def identify(self, credentials: str) -> tuple[Identity, Roles]:
        """Who shows these, and what they may do. Raise Unauthenticated; Unavailable where that cannot be told now."""
        shown = bearer.read(credentials)
        if shown is not None:
            return await self._by_token(*shown)
        if self._issuer is None:
            raise Unauthenticated("this installation takes its own tokens only", UNKNOWN)
        identity = await self._issuer.verify(credentials)
        async with self._db.read() as tx:
            return identity, await self.roles(tx, identity)

    async def roles(self, tx: Transaction, identity: Identity) -> Roles:
        """What somebody may do now, within the limits of the token that they show, if that is one."""
        found = await members.roles(tx, [identity.subject, *(GROUP + group for group in identity.groups)])
        known = [self._group_roles.get(group, Role.UNSPECIFIED) for group in identity.groups]
        own = Role.ADMIN if identity.token and identity.subject == OWNER else Role.UNSPECIFIED
        roles = Roles(max(found.everywhere, own, *known, Role.UNSPECIFIED), found.projects, found.uids)
        return await _within(tx, roles, identity.token) if identity.token else roles

    async def _by_token(self, token_id: str, digest: bytes) -> tuple[Identity, Roles]:
        async with self._db.read() as tx:
            token = await tokens.get(tx, token_id)
            now = datetime.fromtimestamp(await read_clock(tx), UTC)
            if token is None or not hmac.compare_digest(token.digest, digest):
                raise Unauthenticated("there is no such token", UNKNOWN)
            # One that was being made with another while that was revoked is not marked itself.
            if token.revoke_time is not None or not await tokens.all_hold(tx, token.made_with):
                raise Unauthenticated("the token was revoked; ask for another one", REVOKED)
            if token.expire_time <= now:
                raise Unauthenticated("the token has expired; make another one", EXPIRED)
            identity = Identity(token.subject, token.groups, token.expire_time, token)
            roles = await self.roles(tx, identity)
        await self._note_use(token, now)
        return identity, roles

    async def _note_use(self, token: Token, now: datetime) -> None:
        if token.last_use_time is not None and abs(now - token.last_use_time) < _NOTED_EVERY:
            return
        # A full disk keeps nobody out.
        with guarded(_USE, token=token.id):
            async with self._db.write() as tx:
                await tokens.note_use(tx, token.id, now)


async def _within(tx: Transaction, roles: Roles, token: Token) -> Roles:
    """Roles as far as a token goes."""
    if token.projects is None:
        limited = {project: min(role, token.role) for project, role in roles.projects.items()}
        return Roles(min(roles.everywhere, token.role), limited, roles.uids)
    there = await projects.ids(tx, token.projects)
    given = {
        project: min(token.role, max(roles.everywhere, roles.projects.get(project, Role.UNSPECIFIED)))
        for project in sorted(there.values())
    }
    uids = {project: uid for uid, project in there.items()}
    return Roles(Role.UNSPECIFIED, {project: role for project, role in given.items() if role}, uids)
