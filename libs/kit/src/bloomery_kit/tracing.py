"""Traces by OpenTelemetry: a span for each call that is served, and for each call to a neighbour on its behalf.

Off unless an endpoint is set: then nothing of this is imported, and no call passes through here.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc

from bloomery_kit.context import request_id, traceparent_var

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from bloomery_kit.pipeline import Call
    from bloomery_kit.settings import TracingSettings

_STOP_SECONDS = 3.0
_FAULTS = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"})
"""Codes by which a span of a server is an error, as the conventions have it."""
_log = logging.getLogger("bloomery.tracing")
_tracing: _Tracing | None = None


def start(settings: TracingSettings | None, service: str) -> None:
    """Send spans of this process, which is called `service`, where the settings say, to its end."""
    global _tracing  # noqa: PLW0603 - as the registry of metrics, it is one for the process
    if settings is not None:
        _tracing = _Tracing(_provider(settings, service))
        atexit.register(stop)
        _log.info("traces are sent", extra={"endpoint": settings.endpoint, "ratio": settings.ratio})


def stop() -> None:
    """Send what is left, for some seconds, and no more."""
    global _tracing  # noqa: PLW0603
    if (tracing := _tracing) is not None:
        _tracing = None
        tracing.close()


def is_on() -> bool:
    """Whether spans are sent."""
    return _tracing is not None


@asynccontextmanager
async def traced(call: Call) -> AsyncIterator[None]:
    """The layer of a server: the call's span, which its logs and the calls on its behalf belong to."""
    assert _tracing is not None
    parent = call.metadata.get("traceparent")
    span = _tracing.begin(call.method, parent if isinstance(parent, str) else "", served=True)
    traceparent_var.set(_tracing.traceparent(span))
    span.set_attribute("bloomery.request_id", request_id())
    try:
        yield
    finally:
        _end(span, call.code, is_error=call.code in _FAULTS)


class Outgoing:
    """A call to a neighbour: its `traceparent`, and its span where the call that it is made for has one."""

    def __init__(self, method: str | bytes) -> None:
        self.traceparent = traceparent_var.get()
        self._span: Span | None = None
        if _tracing is not None and self.traceparent:
            name = method.decode() if isinstance(method, bytes) else method
            self._span = _tracing.begin(name, self.traceparent, served=False)
            self.traceparent = _tracing.traceparent(self._span)

    def follow(self, call: Any) -> Any:
        """Return the call; the span ends with it."""
        if self._span is not None:
            call.add_done_callback(self._done)
        return call

    def _done(self, call: Any) -> None:
        assert _tracing is not None
        assert self._span is not None
        ending = asyncio.ensure_future(_end_with(self._span, call))
        _tracing.ending.add(ending)
        ending.add_done_callback(_tracing.ending.discard)


async def _end_with(span: Span, call: Any) -> None:
    code: grpc.StatusCode = await call.code()
    _end(span, code.name, is_error=code is not grpc.StatusCode.OK)


def _end(span: Span, code: str, *, is_error: bool) -> None:
    from opentelemetry.trace import StatusCode

    number: int = grpc.StatusCode[code].value[0]
    span.set_attribute("rpc.grpc.status_code", number)
    if is_error:
        span.set_status(StatusCode.ERROR, code)
    span.end()


class _Tracing:
    """Makes spans, and knows how a trace is told to others."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("bloomery", version("bloomery-kit"))
        self._w3c = TraceContextTextMapPropagator()
        self.ending: set[asyncio.Future[None]] = set()

    def begin(self, method: str, parent: str, *, served: bool) -> Span:
        """A span of a call ("/package.Service/Method") in the trace that a `traceparent` names, or in a new one."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        _, service, name = method.split("/")
        return self._tracer.start_span(
            f"{service}/{name}",
            context=self._w3c.extract({"traceparent": parent}, Context()),
            kind=SpanKind.SERVER if served else SpanKind.CLIENT,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )

    def traceparent(self, span: Span) -> str:
        """What is told to those who are called within a span; nothing where the SDK is switched off."""
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        told: dict[str, str] = {}
        self._w3c.inject(told, set_span_in_context(span, Context()))
        return told.get("traceparent", "")

    def close(self) -> None:
        """Send what is left, for some seconds."""
        self._provider.force_flush(round(_STOP_SECONDS * 1000))
        self._provider.shutdown()


def _provider(settings: TracingSettings, service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    about = {
        "service.name": service,
        "service.version": version("bloomery-kit"),
        "service.instance.id": socket.gethostname(),
    }
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
        resource=Resource.create(about),
        shutdown_on_exit=False,
    )
    is_plain = settings.endpoint.startswith("http://")
    roots = None if settings.ca_certs is None else settings.ca_certs.read_bytes()
    exporter = OTLPSpanExporter(
        endpoint=settings.endpoint,
        insecure=is_plain,
        credentials=None if is_plain else grpc.ssl_channel_credentials(roots),
        timeout=_STOP_SECONDS,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
