"""Between messages and values."""

from collections.abc import Mapping
from datetime import timedelta

from bloomery.access.v1 import Caller, Grant, IssueTokenRequest
from bloomery.access.v1 import Member as MemberMessage
from bloomery.access.v1 import Token as TokenMessage
from bloomery.common.v1 import Role as RoleValue
from bloomery_access.issuer import is_subject
from bloomery_access.issuing import Wish
from bloomery_access.model import ALL, GROUP, RESERVED, Identity, Member, Roles, Token
from bloomery_access.names import PROJECT
from bloomery_kit.auth import Role
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text
from bloomery_kit.times import to_timestamp

_SHORTEST, _LONGEST = 60, 366 * 24 * 3600
_DEFAULT = timedelta(days=90)
_PROJECTS = 1000


def wish(request: IssueTokenRequest) -> Wish:
    """What is asked for. Raise InvalidArgument."""
    violations = Violations()
    check_text(request.display_name, "display_name", violations)
    if request.subject and not is_subject(request.subject):
        violations.add("subject", _SUBJECT)
    if request.role:
        _check_role(request.role, violations)
    if len(request.projects) > _PROJECTS:
        violations.add("projects", f"must have at most {_PROJECTS} entries, not {len(request.projects)}")
    named = [PROJECT.check(name, f"projects[{place}]", violations) for place, name in enumerate(request.projects)]
    seconds = request.lifetime_seconds
    if seconds and not _SHORTEST <= seconds <= _LONGEST:
        violations.add("lifetime_seconds", f"must be {_SHORTEST} to {_LONGEST}, not {seconds}; 0 means 90 days")
    violations.raise_if_any()
    return Wish(
        request.display_name,
        request.subject,
        Role(request.role),
        tuple(ids["project"] for ids in named if ids),
        timedelta(seconds=seconds) if seconds else _DEFAULT,
    )


def member_wish(parent: str, subject: str, role: int | None = None) -> tuple[str, str, Role]:
    """Project, subject and role of a request. Raise InvalidArgument."""
    violations = Violations()
    project = checked_parent(parent, violations)
    name = subject.removeprefix(GROUP)
    if not is_subject(subject) or not is_subject(name):
        violations.add("subject", _SUBJECT)
    elif subject in RESERVED:
        violations.add("subject", f"{subject!r} has its role already")
    if role is not None:
        _check_role(role, violations)
    violations.raise_if_any()
    return project, subject, Role(role or 0)


def checked_parent(parent: str, violations: Violations) -> str:
    """The project of a parent, `-` for the whole installation."""
    if parent == f"projects/{ALL}":
        return ALL
    ids = PROJECT.check(parent, "parent", violations)
    return ids["project"] if ids else ""


def token_message(token: Token, ids: Mapping[str, str]) -> TokenMessage:
    """A token; `ids` are those of projects that are there, by uid."""
    message = TokenMessage(
        name=f"tokens/{token.id}",
        display_name=token.display_name,
        subject=token.subject,
        role=RoleValue.ValueType(token.role.value),
        projects=[f"projects/{ids[uid]}" for uid in token.projects or () if uid in ids],
        limited=token.projects is not None,
        creator=token.creator,
        create_time=to_timestamp(token.create_time),
        expire_time=to_timestamp(token.expire_time),
    )
    if token.last_use_time:
        message.last_use_time.CopyFrom(to_timestamp(token.last_use_time))
    if token.revoke_time:
        message.revoke_time.CopyFrom(to_timestamp(token.revoke_time))
    return message


def member_message(member: Member) -> MemberMessage:
    """A member."""
    return MemberMessage(
        parent=f"projects/{member.project}",
        subject=member.subject,
        role=RoleValue.ValueType(member.role.value),
        creator=member.creator,
        create_time=to_timestamp(member.create_time),
    )


def caller_message(identity: Identity, roles: Roles, means: Caller.Means.ValueType) -> Caller:
    """Somebody and what they may do."""
    grants = [
        Grant(project=project, role=RoleValue.ValueType(role.value))
        for project, role in roles.projects.items()
        if role > roles.everywhere
    ]
    message = Caller(
        subject=identity.subject,
        role=RoleValue.ValueType(roles.everywhere.value),
        grants=grants,
        means=means,
        token=f"tokens/{identity.token.id}" if identity.token else "",
        groups=identity.groups,
    )
    if identity.expire_time:
        message.expire_time.CopyFrom(to_timestamp(identity.expire_time))
    return message


_SUBJECT = "must have 1 to 255 visible characters and neither begin nor end with a blank"


def _check_role(role: int, violations: Violations) -> None:
    if not Role.VIEWER <= role <= Role.ADMIN:
        violations.add("role", "must be ROLE_VIEWER, ROLE_ANNOTATOR, ROLE_TRAINER or ROLE_ADMIN")
