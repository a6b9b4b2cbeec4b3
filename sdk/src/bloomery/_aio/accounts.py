"""Tokens, members and the caller."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from bloomery._access import INSTALLATION, Account, IssuedToken, Member, RoleName, Token, role_value
from bloomery._resolve import Resolver
from bloomery._session import Session
from bloomery.access import v1 as access
from bloomery.common import v1 as common


class AsyncAccounts:
    """What a client does about who may do what."""

    async def connect(self) -> Session:
        """Find the server and open the connection, if that is not done."""
        raise NotImplementedError

    async def _resolver(self) -> Resolver:
        raise NotImplementedError

    async def whoami(self) -> Account:
        """Who calls, and what they may do, as the server knows it now."""
        session = await self.connect()
        return Account(await session.call(session.access.WhoAmI, access.WhoAmIRequest()))

    async def create_token(
        self,
        display_name: str = "",
        *,
        subject: str = "",
        role: RoleName | None = None,
        projects: Sequence[str] = (),
        lifetime: timedelta | None = None,
    ) -> IssuedToken:
        """Make a token, and tell what its bearer sends, the only time. A lost answer leaves one that is not used.

        Args:
            display_name: what it is for.
            subject: as whom it acts, by default as the caller; somebody else only for admins of the installation.
            role: the most that it may do; by default the most that its subject may somewhere.
            projects: where it may be used, everywhere by default.
            lifetime: how long it holds: a minute to 366 days, by default 90 days.

        Raises:
            PermissionDenied: it would go further than the caller may.
            NotFound: the caller knows no such project.
            FailedPrecondition: NO_ROLE: the subject has no role anywhere, and none is named.
        """
        session, resolver = await self.connect(), await self._resolver()
        request = access.IssueTokenRequest(
            display_name=display_name,
            subject=subject,
            role=role_value(role) if role else common.ROLE_UNSPECIFIED,
            projects=[await resolver.project(project) for project in projects],
            lifetime_seconds=round(lifetime.total_seconds()) if lifetime else 0,
        )
        issued = await session.once(session.access.IssueToken, request)
        return IssuedToken(issued.token, issued.secret)

    async def tokens(self, *, subject: str = "") -> AsyncIterator[Token]:
        """List the caller's tokens and those that they made, for admins of the installation all, newest first.

        Args:
            subject: only those that act as it.
        """
        session = await self.connect()
        request = access.ListTokensRequest(filter=f"subject:{subject}" if subject else "")
        async for page in session.pages(session.access.ListTokens, request):
            for token in page.tokens:
                yield Token(token)

    async def revoke_token(self, id: str) -> Token:
        """Refuse a token, and those that were made with it, everywhere within ten seconds.

        Raises:
            NotFound: there is no such token, or it is none of the caller's.
        """
        session = await self.connect()
        request = access.RevokeTokenRequest(name=id if "/" in id else f"tokens/{id}")
        return Token(await session.call(session.access.RevokeToken, request))

    async def members(self, project: str | None = None) -> AsyncIterator[Member]:
        """List who has a role in a project, by default the client's or the only one, by subject.

        Args:
            project: its id or name; `-` for the whole installation.
        """
        session = await self.connect()
        request = access.ListMembersRequest(parent=await self._parent(project))
        async for page in session.pages(session.access.ListMembers, request):
            for member in page.members:
                yield Member(member)

    async def set_member(self, subject: str, role: RoleName, *, project: str | None = None) -> Member:
        """Give somebody a role in a project, by default the client's or the only one, or another one than they have.

        Args:
            subject: who; `group:` and a name for all in a group of the issuer.
            role: `viewer`, `annotator`, `trainer` or `admin`.
            project: its id or name; `-` for the whole installation.

        Raises:
            FailedPrecondition: LAST_ADMIN: nobody else would be the project's admin.
        """
        session = await self.connect()
        request = access.SetMemberRequest(parent=await self._parent(project), subject=subject, role=role_value(role))
        return Member(await session.call(session.access.SetMember, request))

    async def remove_member(self, subject: str, *, project: str | None = None) -> None:
        """Take somebody's role in a project away; fine where they have none.

        Args:
            subject: who.
            project: its id or name, by default the client's or the only one; `-` for the whole installation.

        Raises:
            FailedPrecondition: LAST_ADMIN: nobody else would be the project's admin.
        """
        session = await self.connect()
        request = access.RemoveMemberRequest(parent=await self._parent(project), subject=subject)
        await session.call(session.access.RemoveMember, request)

    async def _parent(self, project: str | None) -> str:
        return (
            f"projects/{INSTALLATION}" if project == INSTALLATION else await (await self._resolver()).project(project)
        )
