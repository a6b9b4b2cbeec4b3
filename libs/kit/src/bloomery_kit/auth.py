"""Who calls, and what they may do."""

import enum
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol
from urllib.parse import quote, unquote

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from bloomery.common.v1 import options_pb2
from bloomery_kit.errors import Unauthenticated

PRINCIPAL_HEADER = "x-bloomery-principal"
"""Metadata in which a service passes on for whom it calls; believed from services only."""
_POOL = descriptor_pool.Default()  # type: ignore[no-untyped-call]


class Role(enum.IntEnum):
    """Roles in rising order of power; the values are those of `bloomery.common.v1.Role`.

    PUBLIC needs no credentials. WORKER stands apart: the handler checks the attempt's own secret. SERVICE stands apart
    too: another service of the same installation, which may do all but a worker's part.
    """

    UNSPECIFIED = 0
    PUBLIC = 1
    VIEWER = 2
    ANNOTATOR = 3
    TRAINER = 4
    ADMIN = 5
    WORKER = 6
    SERVICE = 7


@dataclass(frozen=True)
class Principal:
    """A caller whose credentials hold: a stable subject, and the role that it has."""

    subject: str
    role: Role

    def may(self, required: Role) -> bool:
        """Whether this caller may use a method that requires a role from VIEWER to ADMIN, or SERVICE."""
        return self.role is Role.SERVICE or (self.role is not Role.WORKER and self.role >= required)


_NO_PEOPLES = (Role.UNSPECIFIED, Role.PUBLIC, Role.WORKER, Role.SERVICE)


class Authenticator(Protocol):
    """Turns a bearer token into a principal."""

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless the token is good."""
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

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless it is the owner's token or the services'."""
        given = token.encode()
        for known, principal in _known(tuple(self._tokens())).items():
            if hmac.compare_digest(given, known):
                return principal
        raise Unauthenticated("the token is not the owner's; it is in server.json of the data folder")


@lru_cache(maxsize=8)
def _known(tokens: Sequence[str]) -> dict[bytes, Principal]:
    owners = {token.encode(): Principal("owner", Role.ADMIN) for token in tokens}
    services = {service_token(token).encode(): Principal("service", Role.SERVICE) for token in tokens}
    return owners | services


def format_principal(principal: Principal) -> str:
    """A caller as services pass it on to each other, in ASCII."""
    return f"{principal.role.name} {quote(principal.subject, safe='')}"


def parse_principal(text: str) -> Principal | None:
    """The caller that a service passed on, None where the text is none or claims to be no person."""
    name, _, subject = text.partition(" ")
    role = Role.__members__.get(name, Role.UNSPECIFIED)
    return Principal(unquote(subject), role) if Role.VIEWER <= role <= Role.ADMIN and subject else None


@cache
def required_role(method: str) -> Role:
    """The role that `method` ("/package.Service/Method") declares; UNSPECIFIED where it declares none."""
    return Role(_options(method).Extensions[options_pb2.required_role])


@cache
def mutates(method: str) -> bool:
    """Whether people may change something by `method`: one of theirs that does not declare NO_SIDE_EFFECTS."""
    reads = _options(method).idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    return not reads and required_role(method) not in _NO_PEOPLES


def resource_of(method: str, request: Message) -> str:
    """The name of the resource that a call concerns, "" where `method` declares no field for it."""
    path = _options(method).Extensions[options_pb2.resource]
    value: object = request
    for part in path.split(".") if path else ():
        value = getattr(value, part, "")
    return value if isinstance(value, str) else ""


@cache
def _options(method: str) -> Any:
    try:
        return _POOL.FindMethodByName(method.strip("/").replace("/", ".")).GetOptions()
    except KeyError:
        return MethodOptions()
