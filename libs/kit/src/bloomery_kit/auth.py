"""Who calls, and what they may do."""

import enum
import hmac
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from google.protobuf import descriptor_pool

from bloomery.common.v1 import options_pb2
from bloomery_kit.errors import Unauthenticated

_POOL = descriptor_pool.Default()  # type: ignore[no-untyped-call]


class Role(enum.IntEnum):
    """Roles in rising order of power; the values are those of `bloomery.common.v1.Role`.

    PUBLIC needs no credentials. WORKER stands apart: the handler checks the attempt's own secret.
    """

    UNSPECIFIED = 0
    PUBLIC = 1
    VIEWER = 2
    ANNOTATOR = 3
    TRAINER = 4
    ADMIN = 5
    WORKER = 6


@dataclass(frozen=True)
class Principal:
    """A caller whose credentials hold: a stable subject, and the role that it has."""

    subject: str
    role: Role

    def may(self, required: Role) -> bool:
        """Whether this caller may use a method that requires a role from VIEWER to ADMIN."""
        return self.role is not Role.WORKER and self.role >= required


class Authenticator(Protocol):
    """Turns a bearer token into a principal."""

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless the token is good."""
        ...


class OwnerToken:
    """The one token of an embedded installation: whoever holds it owns everything."""

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("the owner's token must not be empty")
        self._token = token.encode()

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless it is the owner's token."""
        if not hmac.compare_digest(token.encode(), self._token):
            raise Unauthenticated("the token is not the owner's; it is in server.json of the data folder")
        return Principal("owner", Role.ADMIN)


@cache
def required_role(method: str) -> Role:
    """The role that `method` ("/package.Service/Method") declares; UNSPECIFIED where it declares none."""
    try:
        descriptor = _POOL.FindMethodByName(method.strip("/").replace("/", "."))
    except KeyError:
        return Role.UNSPECIFIED
    return Role(descriptor.GetOptions().Extensions[options_pb2.required_role])
