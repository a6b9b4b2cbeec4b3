"""The servicer: convert, call, convert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty

from bloomery.access.v1 import (
    AccessServiceServicer,
    AuthenticateRequest,
    Caller,
    ForgetProjectRequest,
    IssueTokenRequest,
    IssueTokenResponse,
    ListMembersRequest,
    ListMembersResponse,
    ListTokensRequest,
    ListTokensResponse,
    Member,
    RegisterProjectRequest,
    RemoveMemberRequest,
    RevokeTokenRequest,
    SetMemberRequest,
    Token,
    WhoAmIRequest,
)
from bloomery_access import convert
from bloomery_access.authority import Authority
from bloomery_access.issuing import Issuing, Maker
from bloomery_access.membership import Membership
from bloomery_access.model import Identity, Roles
from bloomery_access.names import parse_token
from bloomery_kit.auth import Principal, Role
from bloomery_kit.callers import principal_of
from bloomery_kit.context import bearer_token, current_principal
from bloomery_kit.errors import FieldViolation, InvalidArgument, PermissionDenied, Violations
from bloomery_kit.fields import check_text
from bloomery_kit.names import validate_id
from bloomery_kit.pages import PageRequest
from bloomery_kit.permissions import admit, rule_of

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

_FILTER = "subject:"


class AccessServicer(AccessServiceServicer):
    """Tokens and members over gRPC."""

    def __init__(self, authority: Authority, issuing: Issuing, membership: Membership) -> None:
        self._authority = authority
        self._issuing = issuing
        self._membership = membership

    async def authenticate(self, credentials: str) -> Caller:
        """Whose these are. Raise Unauthenticated, Unavailable."""
        identity, roles = await self._authority.identify(credentials)
        means = Caller.MEANS_TOKEN if identity.token else Caller.MEANS_OIDC
        return convert.caller_message(identity, roles, means)

    async def WhoAmI(self, request: WhoAmIRequest, context: Context) -> Caller:
        """See the contract."""
        maker = await self._maker()
        if current_principal().means == "owner":
            return convert.caller_message(maker.identity, maker.roles, Caller.MEANS_OWNER)
        return await self.authenticate(bearer_token())

    async def IssueToken(self, request: IssueTokenRequest, context: Context) -> IssueTokenResponse:
        """See the contract."""
        maker = await self._maker()
        token, secret = await self._issuing.issue(convert.wish(request), maker)
        ids = await self._issuing.project_ids(token, maker)
        return IssueTokenResponse(token=convert.token_message(token, ids), secret=secret)

    async def ListTokens(self, request: ListTokensRequest, context: Context) -> ListTokensResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        before = page.cursor[0] if page.cursor else None
        subject = _subject_asked(request.filter)
        maker = await self._maker()
        found, ids = await self._issuing.page(
            maker, subject=subject, before=before if isinstance(before, int) else None, size=page.size + 1
        )
        shown = found[: page.size]
        token = page.next_token((shown[-1][0],)) if len(found) > page.size else ""
        return ListTokensResponse(tokens=[convert.token_message(one, ids) for _, one in shown], next_page_token=token)

    async def RevokeToken(self, request: RevokeTokenRequest, context: Context) -> Token:
        """See the contract."""
        maker = await self._maker()
        token = await self._issuing.revoke(parse_token(request.name), maker)
        return convert.token_message(token, await self._issuing.project_ids(token, maker))

    async def SetMember(self, request: SetMemberRequest, context: Context) -> Member:
        """See the contract."""
        project, subject, role = convert.member_wish(request.parent, request.subject, request.role)
        caller = await self._still_let_in("SetMember", request)
        return convert.member_message(await self._membership.put(project, subject, role, caller))

    async def RemoveMember(self, request: RemoveMemberRequest, context: Context) -> Empty:
        """See the contract."""
        project, subject, _ = convert.member_wish(request.parent, request.subject)
        await self._membership.remove(project, subject, await self._still_let_in("RemoveMember", request))
        return Empty()

    async def ListMembers(self, request: ListMembersRequest, context: Context) -> ListMembersResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        violations = Violations()
        project = convert.checked_parent(request.parent, violations)
        violations.raise_if_any()
        after = page.cursor[0] if page.cursor else ""
        found = await self._membership.page(project, str(after), page.size + 1)
        shown = found[: page.size]
        token = page.next_token((shown[-1].subject,)) if len(found) > page.size else ""
        return ListMembersResponse(members=map(convert.member_message, shown), next_page_token=token)

    async def Authenticate(self, request: AuthenticateRequest, context: Context) -> Caller:
        """See the contract."""
        return await self.authenticate(request.token)

    async def RegisterProject(self, request: RegisterProjectRequest, context: Context) -> Empty:
        """See the contract."""
        violations = Violations()
        validate_id(request.project, "project", violations)
        _check_uid(request.uid, violations)
        check_text(request.creator, "creator", violations)
        violations.raise_if_any()
        await self._membership.register(request.project, request.uid, request.creator)
        return Empty()

    async def ForgetProject(self, request: ForgetProjectRequest, context: Context) -> Empty:
        """See the contract."""
        violations = Violations()
        _check_uid(request.uid, violations)
        violations.raise_if_any()
        await self._membership.forget(request.uid)
        return Empty()

    async def _still_let_in(self, method: str, request: SetMemberRequest | RemoveMemberRequest) -> Principal:
        """The caller as it is known now: who is an admin no more must not make themselves one again.

        Raise what is raised at the door.
        """
        caller = current_principal()
        if caller.means not in ("token", "oidc"):
            return caller
        caller = principal_of(await self.authenticate(bearer_token()))
        admit(caller, rule_of(f"/bloomery.access.v1.AccessService/{method}"), request)
        return caller

    async def _maker(self) -> Maker:
        """The caller as it is known now, and not as it was remembered. Raise PermissionDenied for a service."""
        caller = current_principal()
        if caller.means == "owner":
            return Maker(Identity(caller.subject, (), None), Roles(Role.ADMIN, {}, {}))
        if caller.role is Role.SERVICE:
            raise PermissionDenied("a service is nobody who has tokens")
        return Maker(*await self._authority.identify(bearer_token()))


def _check_uid(uid: str, violations: Violations) -> None:
    if not uid:
        violations.add("uid", "is required")
    check_text(uid, "uid", violations)


def _subject_asked(text: str) -> str | None:
    """The subject of a filter, None where all are meant. Raise InvalidArgument."""
    if not text:
        return None
    subject = text.removeprefix(_FILTER)
    if not text.startswith(_FILTER) or not subject or "\0" in text:
        raise InvalidArgument([FieldViolation("filter", "must be empty or subject:SUBJECT")])
    return subject
