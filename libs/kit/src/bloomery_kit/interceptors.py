"""The layers that every call passes, outermost first: ids, traces, metrics, log, errors, limit, auth, audit log."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc
from grpc_status import rpc_status

from bloomery_kit import metrics, tracing
from bloomery_kit.audit import AuditLayers
from bloomery_kit.auth import (
    PRINCIPAL_HEADER,
    Authenticator,
    Principal,
    Role,
    parse_principal,
)
from bloomery_kit.context import (
    principal_var,
    request_id,
    request_id_var,
    token_var,
    traceparent_var,
)
from bloomery_kit.errors import (
    BloomeryError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    error_info,
    to_status,
)
from bloomery_kit.names import new_uid
from bloomery_kit.permissions import Rule, admit, rule_of
from bloomery_kit.pipeline import Call, Layer, Pipeline

_log = logging.getLogger("bloomery.rpc")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_RETRY_SECONDS = 0.5
_STILL_SECONDS = 1.0
"""With what is remembered of a caller, a stream goes on for ten seconds at most after its role was taken away."""
_VERSION = version("bloomery-kit")


@dataclass(frozen=True)
class Limits:
    """How many calls may be served at once; streams, which may live for minutes, count apart."""

    calls: int = 256
    streams: int = 4096


def server_interceptors(
    authenticator: Authenticator, limits: Limits, audit: AuditLayers
) -> Sequence[grpc.aio.ServerInterceptor]:
    """The interceptors of a server."""
    traced = (tracing.traced,) if tracing.is_on() else ()
    outer: tuple[Layer, ...] = (_ids, *traced, _metrics, _call_log, _errors, _Limiter(limits).layer)
    return [Pipeline((*outer, audit.refusals, _auth_layer(authenticator), audit.calls))]


@asynccontextmanager
async def _ids(call: Call) -> AsyncIterator[None]:
    given = call.metadata.get("x-request-id")
    request_id_var.set(given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else new_uid())
    parent = call.metadata.get("traceparent")
    known = isinstance(parent, str) and _TRACEPARENT.fullmatch(parent)
    traceparent_var.set(str(parent) if known else f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00")
    call.context.set_trailing_metadata(_trailing())
    yield


def _trailing() -> tuple[tuple[str, str], ...]:
    """What every answer carries: the id of the call, and which version served it."""
    return ("x-request-id", request_id()), ("x-bloomery-version", _VERSION)


@asynccontextmanager
async def _metrics(call: Call) -> AsyncIterator[None]:
    measured = metrics.of_method(call.method, call.arity)
    measured.started.inc()
    with measured.in_flight.track_inprogress():
        try:
            yield
        finally:
            measured.handled(call.code).inc()
            measured.received.inc(call.received)
            measured.sent.inc(call.sent)
            measured.seconds.observe(time.perf_counter() - call.start)


@asynccontextmanager
async def _call_log(call: Call) -> AsyncIterator[None]:
    try:
        yield
    finally:
        seconds = round(time.perf_counter() - call.start, 6)
        # The answer need not wait for its line.
        asyncio.get_running_loop().call_soon(_write_line, call, seconds)


def _write_line(call: Call, seconds: float) -> None:
    fields: dict[str, object] = {
        "method": call.method,
        "code": call.code,
        "seconds": seconds,
        "received": call.received,
        "sent": call.sent,
    }
    if principal := principal_var.get():
        fields["subject"] = principal.subject
    if call.status is not None:
        info = error_info(call.status)
        fields |= {"error": call.status.message, "reason": info.reason}
    _log.info("rpc", extra=fields)


@asynccontextmanager
async def _errors(call: Call) -> AsyncIterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        call.cancelled = True
        raise
    except Exception as error:  # noqa: BLE001
        call.status = to_status(error)
        if call.code == "INTERNAL":
            log_id = error_info(call.status).metadata.get("log_id", "")
            _log.exception("internal error", extra={"log_id": log_id, "method": call.method})
        status = rpc_status.to_status(call.status)
        trailing = (*(status.trailing_metadata or ()), *_trailing())
        await call.context.abort(status.code, status.details, trailing)


class _Limiter:
    def __init__(self, limits: Limits) -> None:
        self._left = {False: limits.calls, True: limits.streams}

    @asynccontextmanager
    async def layer(self, call: Call) -> AsyncIterator[None]:
        if self._left[call.streams] <= 0:
            metrics.REJECTED.labels("in_flight").inc()
            raise ResourceExhausted("TOO_MANY_CALLS", "this server serves as many calls as it can", _RETRY_SECONDS)
        self._left[call.streams] -= 1
        try:
            yield
        finally:
            self._left[call.streams] += 1


def _auth_layer(authenticator: Authenticator) -> Layer:
    @asynccontextmanager
    async def layer(call: Call) -> AsyncIterator[None]:
        await _authorise(call, authenticator)
        yield

    return layer


async def _authorise(call: Call, authenticator: Authenticator) -> None:
    try:
        await _let_in(call, authenticator)
    except BloomeryError as error:
        _count(error)
        raise


async def _let_in(call: Call, authenticator: Authenticator) -> None:
    rule = rule_of(call.method)
    token = _bearer(call)
    token_var.set(token)
    if rule.role is Role.UNSPECIFIED:
        raise PermissionDenied(f"{call.method} declares no role, so nobody may call it")
    if rule.role in (Role.PUBLIC, Role.WORKER):
        return
    if not token:
        raise Unauthenticated("send `authorization: Bearer <token>`")
    caller = await authenticator.authenticate(token)
    call.by_service = caller.role is Role.SERVICE
    principal = _person_behind(call, caller)
    principal_var.set(principal)
    # What services alone may do is done by the service itself; all else goes as far as the person's own role.
    if rule.role is Role.SERVICE:
        if not caller.may(rule.role):
            raise PermissionDenied(f"{call.method} is for services of this installation alone")
    elif call.request is not None:
        await _admit(call, principal, rule, authenticator, call.request)
    else:
        call.admit = partial(_admit_first, call, principal, rule, authenticator)
    if call.streams and not call.by_service:
        call.still = _Still(call, authenticator, rule, token)


async def _admit(call: Call, principal: Principal, rule: Rule, authenticator: Authenticator, request: Any) -> None:
    try:
        admit(principal, rule, request)
    except (NotFound, PermissionDenied):
        if call.by_service:
            raise
        # What they were allowed a moment ago is not known here yet.
        principal = await authenticator.again(token_var.get())
        principal_var.set(principal)
        admit(principal, rule, request)


async def _admit_first(
    call: Call, principal: Principal, rule: Rule, authenticator: Authenticator, request: Any
) -> None:
    try:
        await _admit(call, principal, rule, authenticator, request)
    except BloomeryError as error:
        _count(error)
        raise


class _Still:
    """Whether the caller of a stream may still have it: what was taken away ends it with its next answer."""

    def __init__(self, call: Call, authenticator: Authenticator, rule: Rule, token: str) -> None:
        self._call, self._authenticator, self._rule, self._token = call, authenticator, rule, token
        self._next = time.monotonic() + _STILL_SECONDS

    async def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _STILL_SECONDS
        try:
            principal = await self._authenticator.authenticate(self._token)
            if self._rule.role is not Role.SERVICE and self._call.request is not None:
                admit(principal, self._rule, self._call.request)
        except Unavailable:
            # Nobody loses a stream because it cannot be told now.
            return
        except BloomeryError as error:
            _count(error)
            raise


def _count(error: BloomeryError) -> None:
    metrics.AUTH_FAILURES.labels(error.reason.lower()).inc()


def _person_behind(call: Call, caller: Principal) -> Principal:
    """The person for whom a service calls, or the caller itself; nobody else is believed to call for somebody."""
    passed_on = call.metadata.get(PRINCIPAL_HEADER)
    if caller.role is not Role.SERVICE or not isinstance(passed_on, str):
        return caller
    if not passed_on:
        return caller
    person = parse_principal(passed_on)
    if person is None:
        # Whoever it was may less than the service.
        raise PermissionDenied("for whom this service calls cannot be read; run one version of all services")
    return person


def _bearer(call: Call) -> str:
    header = call.metadata.get("authorization", "")
    scheme, _, token = header.partition(" ") if isinstance(header, str) else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""
