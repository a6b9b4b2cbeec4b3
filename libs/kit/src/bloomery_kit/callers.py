"""Who calls, as access knows it: asked once in a while, and remembered for seconds between."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Protocol

import grpc
from grpc_status import rpc_status

from bloomery.access.v1 import AccessServiceStub, AuthenticateRequest, Caller
from bloomery_kit.auth import OwnerToken, Principal, Role
from bloomery_kit.clients import neighbour
from bloomery_kit.credentials import owner_tokens
from bloomery_kit.errors import Unauthenticated, Unavailable, error_info
from bloomery_kit.settings import NeighbourSettings, ServiceSettings
from bloomery_kit.times import from_timestamp, utc_now

FRESH_SECONDS = 4.0
"""How old may be what is believed without asking again."""
KEPT_SECONDS = 9.0
"""How old may be what is believed at all: what access was told holds everywhere a second later at the latest."""
UNKNOWN, EXPIRED, REVOKED = "CREDENTIALS_UNKNOWN", "CREDENTIALS_EXPIRED", "CREDENTIALS_REVOKED"
REFUSED = frozenset({UNKNOWN, EXPIRED, REVOKED})
"""Why credentials are refused; any other refusal concerns the service that asks."""
_AGAIN_SECONDS = 1.0
_ASKING_SECONDS = 5.0
_REMEMBERED = 10_000
_TOKEN_BYTES = 16 << 10
_MEANS = {Caller.MEANS_OWNER: "owner", Caller.MEANS_TOKEN: "token", Caller.MEANS_OIDC: "oidc"}


class Directory(Protocol):
    """Knows whose credentials are whose."""

    async def authenticate(self, token: str) -> Caller:
        """Whose they are. Raise Unauthenticated, or Unavailable where it cannot tell now."""
        ...


class AccessNeighbour:
    """The service access, asked over the network."""

    def __init__(self, target: str, settings: NeighbourSettings) -> None:
        self._channel = neighbour(target, settings, retryable=("bloomery.access.v1.AccessService/Authenticate",))
        self._stub = AccessServiceStub(self._channel)

    async def authenticate(self, token: str) -> Caller:
        """Whose token it is. Raise Unauthenticated, Unavailable."""
        try:
            return await self._stub.Authenticate(AuthenticateRequest(token=token), timeout=_ASKING_SECONDS)
        except grpc.aio.AioRpcError as error:
            status = rpc_status.from_call(error)  # type: ignore[arg-type]
            reason = error_info(status).reason if status else ""
            if reason in REFUSED:
                raise Unauthenticated(error.details() or "", reason) from error
            message = "who calls cannot be told now, as the service access does not answer"
            raise Unavailable("ACCESS_UNAVAILABLE", message) from error

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


@dataclass
class _Known:
    principal: Principal
    asked: float
    renew: float
    until: float


class KnownCallers:
    """Authenticates the owner and services by itself, everybody else by a directory, whose word it keeps for seconds.

    A caller that comes again and again never waits: what is no longer fresh is asked beside its calls. An outage of
    the directory is not seen by those who were known a moment before.
    """

    def __init__(self, own: OwnerToken, directory: Directory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._directory = directory
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}

    async def authenticate(self, token: str) -> Principal:
        """Raise Unauthenticated unless the token is good, Unavailable where that cannot be told now."""
        principal = self._own.known(token)
        if principal is not None:
            return principal
        if len(token) > _TOKEN_BYTES or not (token.startswith("bly_") or token.count(".") == 2):
            raise Unauthenticated("these are no credentials of this installation", UNKNOWN)
        key = hashlib.sha256(token.encode()).digest()
        known, now = self._known.get(key), self._clock()
        if known is None or now >= known.until:
            return await asyncio.shield(self._ask(key, token))
        if now >= known.renew:
            known.renew = now + _AGAIN_SECONDS
            self._ask(key, token)
        return known.principal

    async def again(self, token: str) -> Principal:
        """Whose it is as access says now, for who may not do something: it may have been allowed since.

        Asked at most once a second, and what was known before holds where access does not answer.
        """
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is None or self._clock() - known.asked < _AGAIN_SECONDS:
            return await self.authenticate(token)
        known.asked = self._clock()
        try:
            return await asyncio.shield(self._ask(key, token))
        except Unavailable:
            return known.principal

    def _ask(self, key: bytes, token: str) -> "asyncio.Task[Principal]":
        """Ask once, however many wait for the answer."""
        asking = self._asking.get(key)
        if asking is None:
            # In a context of its own: it is nobody's call, and must not carry anybody's ids.
            asking = asyncio.create_task(self._look_up(key, token), context=Context())
            asking.add_done_callback(_seen)
            self._asking[key] = asking
        return asking

    async def _look_up(self, key: bytes, token: str) -> Principal:
        asked = self._clock()
        try:
            caller = await self._directory.authenticate(token)
        except Unauthenticated:
            self._known.pop(key, None)
            raise
        finally:
            del self._asking[key]
        until = asked + KEPT_SECONDS
        if caller.HasField("expire_time"):
            left = (from_timestamp(caller.expire_time) - utc_now()).total_seconds()
            until = min(until, asked + left)
        principal = principal_of(caller)
        self._known[key] = _Known(principal, asked, asked + FRESH_SECONDS, until)
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal


def principal_of(caller: Caller) -> Principal:
    """A caller as access tells it."""
    roles = {grant.project: Role(grant.role) for grant in caller.grants}
    token = caller.token.removeprefix("tokens/")
    return Principal(caller.subject, Role(caller.role), roles, _MEANS.get(caller.means, ""), token)


def authenticator_of(settings: ServiceSettings) -> "OwnerToken | KnownCallers":
    """Who is let in by a service with these settings: without access, its owner and its neighbours."""
    own = OwnerToken(owner_tokens(settings))
    if settings.access_target is None:
        return own
    return KnownCallers(own, AccessNeighbour(settings.access_target, settings))


def _seen(asking: "asyncio.Task[Principal]") -> None:
    """Whoever waited has the error; where nobody did, the next one asks again."""
    if not asking.cancelled():
        asking.exception()
