"""Who calls, and which roles they have."""

import enum
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote, unquote

from bloomery_kit.errors import Unauthenticated

PRINCIPAL_HEADER = "x-bloomery-principal"
"""Metadata in which a service passes on for whom it calls; believed from services only."""
OWNER = "owner"
"""The subject of who holds the installation's own token."""
SERVICE = "service"
"""The subject of the services."""


class Role(enum.IntEnum):
    """Roles in rising order of power; the values are those of `bloomery.common.v1.Role`.

    PUBLIC needs no credentials, AUTHENTICATED any that hold. WORKER stands apart: the handler checks the attempt's own
    secret. SERVICE stands apart too: another service of the same installation, which may do all but a worker's part.
    """

    UNSPECIFIED = 0
    PUBLIC = 1
    VIEWER = 2
    ANNOTATOR = 3
    TRAINER = 4
    ADMIN = 5
    WORKER = 6
    SERVICE = 7
    AUTHENTICATED = 8


@dataclass(frozen=True)
class Principal:
    """A caller whose credentials hold: a stable subject, its role in the whole installation, and those in projects.

    `role` is UNSPECIFIED where it has none; `roles` are by the projects' ids. `means` tells how it proved who it is,
    and `token` which token it showed, if that was one of access.
    """

    subject: str
    role: Role
    roles: Mapping[str, Role] = field(default_factory=dict)
    means: str = ""
    token: str = ""

    def may(self, required: Role) -> bool:
        """Whether it may, in the whole installation, what requires a role from VIEWER to ADMIN, or SERVICE."""
        return self.role is Role.SERVICE or (self.role is not Role.WORKER and self.role >= required)

    def role_in(self, project: str) -> Role:
        """Its role in the project of this id; UNSPECIFIED where it has none."""
        return max(self.role, self.roles.get(project, Role.UNSPECIFIED))

    @property
    def highest(self) -> Role:
        """Its highest role anywhere."""
        return max(self.role, *self.roles.values(), Role.UNSPECIFIED)


_OF_PEOPLE = frozenset({Role.UNSPECIFIED, Role.VIEWER, Role.ANNOTATOR, Role.TRAINER, Role.ADMIN})


class Authenticator(Protocol):
    """Turns a bearer token into a principal."""

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless the token is good, Unavailable where that cannot be told now."""
        ...

    async def again(self, token: str) -> Principal:
        """The same for a token that was good a moment ago, by what is known now."""
        ...


def service_token(token: str) -> str:
    """The token by which the services of an installation know each other, derived from its owner's."""
    return hmac.new(token.encode(), b"bloomery services", hashlib.sha256).hexdigest()


class OwnerToken:
    """The token of an installation, whose holder owns everything, and the one of its services.

    While it is exchanged there are several; a callable is asked on each call.
    """

    def __init__(self, token: str | Callable[[], Sequence[str]]) -> None:
        if not token:
            raise ValueError("the owner's token must not be empty")
        self._tokens = token if callable(token) else lambda: (token,)

    def known(self, token: str) -> Principal | None:
        """Whose token it is; None where it is neither of the two."""
        given = token.encode()
        for known, principal in _known(tuple(self._tokens())).items():
            if hmac.compare_digest(given, known):
                return principal
        return None

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless it is the owner's token or the services'."""
        principal = self.known(token)
        if principal is None:
            raise Unauthenticated("the token is not the owner's; it is in server.json of the data folder")
        return principal

    again = authenticate


@lru_cache(maxsize=8)
def _known(tokens: Sequence[str]) -> dict[bytes, Principal]:
    owner = Principal(OWNER, Role.ADMIN, means="owner")
    service = Principal(SERVICE, Role.SERVICE, means="service")
    owners = {token.encode(): owner for token in tokens}
    services = {service_token(token).encode(): service for token in tokens}
    return owners | services


def format_principal(principal: Principal) -> str:
    """A caller as services pass it on to each other, in ASCII: role, subject, means, token, roles in projects."""
    grants = ",".join(f"{project}={role.value}" for project, role in principal.roles.items())
    parts = (principal.role.name, quote(principal.subject, safe=""), principal.means, principal.token, grants)
    return " ".join(parts).rstrip()


def parse_principal(text: str) -> Principal | None:
    """The caller that a service passed on, None where the text is none or claims to be no person."""
    name, subject, means, token, grants, *_ = *text.split(" "), "", "", "", "", ""
    role = Role.__members__.get(name)
    if role not in _OF_PEOPLE or not subject:
        return None
    pairs = (grant.split("=") for grant in grants.split(",") if grant)
    try:
        roles = {project: Role(int(value)) for project, value in pairs}
    except ValueError:
        return None
    if not _OF_PEOPLE.issuperset(roles.values()):
        return None
    return Principal(unquote(subject), role, roles, means, token)
