"""Channels to neighbouring services."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import grpc
from grpc.aio import ClientCallDetails, Metadata

from bloomery_kit import tracing
from bloomery_kit.auth import PRINCIPAL_HEADER, Role, format_principal, service_token
from bloomery_kit.context import principal_var, request_id_var
from bloomery_kit.credentials import owner_tokens
from bloomery_kit.rotating import authorities, rotating
from bloomery_kit.settings import NeighbourSettings
from bloomery_kit.trusting import TrustingChannel

T = TypeVar("T")
DEFAULT_MESSAGE_BYTES = 16 << 20
METADATA_BYTES = 256 << 10
"""The most that a call's metadata may take on the way in."""
_UNARY_SECONDS = 30.0


def channel(
    target: str,
    *,
    token: str | Callable[[], str] | None = None,
    root_certs: Callable[[], bytes] | None = None,
    retryable: Sequence[str] = (),
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES,
) -> grpc.aio.Channel:
    """A channel to `target` (`host:port` or `dns:///name:port`), with TLS if `root_certs` (PEM) are given.

    It sends the bearer token, the ids of the current call and the person behind it, and gives a unary call without a
    deadline 30 s. A callable is asked on each call, so that what was exchanged is picked up. `retryable` names the
    idempotent methods (`package.Service/Method`, or `package.Service` for all) that are repeated when the server is
    UNAVAILABLE.
    """
    options = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Channels of one process would share a connection, and with it the pause that another one's failures have left.
        ("grpc.use_local_subchannel_pool", 1),
        # A neighbour that comes back after minutes is found within seconds.
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # Where all of its replicas were replaced, the new ones' addresses would be looked up after 30 s only.
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
        # Probing grows the window to megabytes, which hides a stalled reader from the server's bounded queue.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.service_config", json.dumps(_service_config(retryable))),
    ]
    interceptors = _interceptors(token)
    if root_certs is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)

    def trusting(roots: bytes) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(roots)
        return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)

    return TrustingChannel(trusting, root_certs)


def neighbour(target: str, settings: NeighbourSettings, *, retryable: Sequence[str] = ()) -> grpc.aio.Channel:
    """A channel to another service of the installation, as one of them."""
    tokens = owner_tokens(settings)
    authority = settings.neighbour_ca
    roots = None if authority is None else rotating("authority", authorities, authority)
    return channel(target, token=lambda: service_token(tokens()[0]), root_certs=roots, retryable=retryable)


def _service_config(retryable: Sequence[str]) -> dict[str, object]:
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [dict(zip(("service", "method"), name.split("/"), strict=False)) for name in retryable]
    methods = [{"name": names, "retryPolicy": policy}] if names else []
    return {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": methods}


class _Outgoing:
    def __init__(self, token: str | Callable[[], str] | None) -> None:
        self._token = token

    async def call(self, continuation: Any, given: ClientCallDetails, requests: Any, seconds: float | None) -> Any:
        outgoing = tracing.Outgoing(given.method)
        details = self._details(given, seconds, outgoing.traceparent)
        return outgoing.follow(await continuation(details, requests))

    def _details(self, given: ClientCallDetails, seconds: float | None, traceparent: str) -> ClientCallDetails:
        metadata = Metadata(*(given.metadata or ()))
        for key, value in self._headers(traceparent):
            if not metadata.get_all(key):
                metadata.add(key, value)
        return ClientCallDetails(
            method=given.method,
            timeout=given.timeout if given.timeout is not None else seconds,
            metadata=metadata,
            credentials=given.credentials,
            wait_for_ready=given.wait_for_ready,
        )

    def _headers(self, traceparent: str) -> Iterable[tuple[str, str]]:
        token = self._token() if callable(self._token) else self._token
        if token:
            yield "authorization", f"Bearer {token}"
        if request_id_var.get():
            yield "x-request-id", request_id_var.get()
        if traceparent:
            yield "traceparent", traceparent
        person = principal_var.get()
        if person is not None and person.role is not Role.SERVICE:
            yield PRINCIPAL_HEADER, format_principal(person)


# The channel sorts interceptors by their class, so that each arity needs one of its own.
class _UnaryUnary(_Outgoing, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: ClientCallDetails, request: Any
    ) -> Any:
        return await self.call(continuation, client_call_details, request, _UNARY_SECONDS)


class _UnaryStream(_Outgoing, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: ClientCallDetails, request: Any
    ) -> Any:
        return await self.call(continuation, client_call_details, request, None)


class _StreamUnary(_Outgoing, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await self.call(continuation, client_call_details, request_iterator, None)


class _StreamStream(_Outgoing, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await self.call(continuation, client_call_details, request_iterator, None)


def _interceptors(token: str | Callable[[], str] | None) -> list[grpc.aio.ClientInterceptor]:
    return [kind(token) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
