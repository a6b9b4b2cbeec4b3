"""Making tokens, and refusing them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bloomery_access import bearer
from bloomery_access.model import GROUP, RESERVED, Identity, Roles, Token
from bloomery_access.store import members, projects, tokens
from bloomery_kit.auth import Role
from bloomery_kit.database import Database, Transaction
from bloomery_kit.database_clock import read_clock
from bloomery_kit.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound, PermissionDenied

_AT_ONCE = 1000


@dataclass(frozen=True)
class Wish:
    """What somebody asks for; empty `subject` and `projects` and an unspecified role stand for the defaults."""

    display_name: str
    subject: str
    role: Role
    projects: tuple[str, ...]
    lifetime: timedelta


@dataclass(frozen=True)
class Maker:
    """Who asks, and what they may."""

    identity: Identity
    roles: Roles

    @property
    def governs(self) -> bool:
        """Whether this is an admin of the installation."""
        return self.roles.everywhere is Role.ADMIN

    @property
    def root(self) -> Token | None:
        """The token that bounds whose tokens this one sees and revokes: one for some projects knows of no others."""
        used = self.identity.token
        return used if used is not None and used.projects is not None else None

    def owns(self, token: Token) -> bool:
        """Whether this one may see and revoke a token."""
        if self.root is not None:
            return token.id == self.root.id or token.lineage.startswith(self.root.heirs)
        return self.governs or self.identity.subject in (token.subject, token.creator)

    def known(self, ids: Mapping[str, str]) -> dict[str, str]:
        """Of the ids of projects by uid, those that this one may see with what they show now."""
        return {uid: one for uid, one in ids.items() if self.roles.everywhere or one in self.roles.projects}


class Issuing:
    """Tokens over their life."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def issue(self, wish: Wish, maker: Maker) -> tuple[Token, str]:
        """Make a token; it and what its bearer sends. Raise PermissionDenied, NotFound, FailedPrecondition."""
        own = wish.subject in ("", maker.identity.subject)
        if not own and not maker.governs:
            raise PermissionDenied("only an admin of the installation makes tokens for somebody else")
        if not own and (wish.subject in RESERVED or wish.subject.startswith(GROUP)):
            raise InvalidArgument([FieldViolation("subject", f"{wish.subject!r} is nobody to make tokens for")])
        async with self._db.write() as tx:
            limits = await self._projects(tx, wish, maker)
            role = await self._role(tx, wish, maker, own=own)
            if await tokens.count_valid(tx, maker.identity.subject, await _now(tx)) >= _AT_ONCE:
                raise FailedPrecondition("TOO_MANY_TOKENS", f"{_AT_ONCE} tokens of yours are valid; revoke some")
            token_id, text, digest = bearer.draw()
            made = await _now(tx)
            used = maker.identity.token
            expire = made + wish.lifetime
            token = Token(
                id=token_id,
                digest=digest,
                display_name=wish.display_name,
                subject=wish.subject or maker.identity.subject,
                groups=maker.identity.groups if own else (),
                role=role,
                projects=limits,
                creator=maker.identity.subject,
                lineage=used.heirs if used else "",
                create_time=made,
                expire_time=min(expire, used.expire_time) if used else expire,
            )
            await tokens.insert(tx, token)
        return token, text

    async def revoke(self, token_id: str, maker: Maker) -> Token:
        """Refuse a token from now on. Raise NotFound."""
        async with self._db.write() as tx:
            token = await tokens.get(tx, token_id)
            if token is None or not maker.owns(token):
                raise NotFound("token", f"tokens/{token_id}", "list your tokens")
            await tokens.revoke(tx, token, await _now(tx))
            revoked = await tokens.get(tx, token_id)
        assert revoked is not None
        return revoked

    async def page(
        self, maker: Maker, *, subject: str | None, before: int | None, size: int
    ) -> tuple[list[tuple[int, Token]], dict[str, str]]:
        """Tokens that somebody may see, and the ids of the projects that they name and may be seen, by uid."""
        of = None if maker.governs else maker.identity.subject
        async with self._db.read() as tx:
            found = await tokens.page(tx, root=maker.root, of=of, subject=subject, before=before, size=size)
            named = {uid for _, token in found for uid in token.projects or ()}
            return found, maker.known(await projects.ids(tx, named))

    async def project_ids(self, token: Token, maker: Maker) -> dict[str, str]:
        """The ids of the projects that a token names, by uid, as far as somebody may see them."""
        async with self._db.read() as tx:
            return maker.known(await projects.ids(tx, token.projects or ()))

    async def _projects(self, tx: Transaction, wish: Wish, maker: Maker) -> tuple[str, ...] | None:
        """The uids of the projects where the token may be used, None for everywhere. Raise NotFound."""
        if not wish.projects:
            # What a token makes goes no further than itself.
            return maker.identity.token.projects if maker.identity.token else None
        there = await projects.uids(tx, wish.projects)
        for project in wish.projects:
            may = maker.roles.everywhere or maker.roles.projects.get(project)
            if project not in there or not may:
                raise NotFound("project", f"projects/{project}", "list the projects")
        return tuple(there[project] for project in dict.fromkeys(wish.projects))

    async def _role(self, tx: Transaction, wish: Wish, maker: Maker, *, own: bool) -> Role:
        """The most that the token may. Raise PermissionDenied, FailedPrecondition NO_ROLE."""
        role = wish.role
        if not role and not own:
            role = (await members.roles(tx, [wish.subject])).highest
            if not role:
                raise FailedPrecondition("NO_ROLE", f"{wish.subject} has no role; make it a member, or name a role")
        role = role or maker.roles.highest
        if not role or role > maker.roles.highest:
            has = maker.roles.highest.name.lower() if maker.roles.highest else "no role"
            raise PermissionDenied(f"a token may no more than its maker, and {maker.identity.subject} has {has}")
        return role


async def _now(tx: Transaction) -> datetime:
    return datetime.fromtimestamp(await read_clock(tx), UTC)
