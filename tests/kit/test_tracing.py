"""Spans of calls, as a collector gets them: a server of OTLP, from OpenTelemetry's own contract."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from io import StringIO
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from bloomery_kit import tracing
from bloomery_kit.clients import channel
from bloomery_kit.context import trace_id
from bloomery_kit.errors import Internal, NotFound
from bloomery_kit.logging import JsonFormatter
from bloomery_kit.settings import ProcessSettings, TracingSettings, load_settings
from real_parts.process import free_port
from tests.kit.echo import OWNER, SERVICE, EchoHost, running_host

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    async def Export(self, request: Any, context: object) -> Any:
        for one in request.resource_spans:
            about = {each.key: each.value.string_value for each in one.resource.attributes}
            self.services.add(about["service.name"])
            self.spans += [span for scope in one.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, method: str, kind: int) -> list[Span]:
        return [span for span in self.spans if span.name.endswith(f"/{method}") and span.kind == kind]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector that this process sends its spans to."""
    taking, server, port = Collector(), grpc.aio.server(), free_port()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(taking, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    tracing.start(TracingSettings(endpoint=f"http://127.0.0.1:{port}"), "bloomery-test")
    yield taking
    await asyncio.to_thread(tracing.stop)
    await server.stop(0)


@pytest.fixture(autouse=True)
def off_afterwards() -> Iterator[None]:
    yield
    tracing.stop()


@asynccontextmanager
async def chained() -> AsyncIterator[tuple[EchoHost, list[str]]]:
    """A server whose Answer asks itself for Open, and the trace ids that its handlers saw."""
    seen = []
    async with running_host() as echo, channel(echo.address, token=OWNER) as neighbour:

        async def answer(text: str) -> str:
            seen.append(trace_id())
            if text == "missing":
                raise NotFound("thing", "things/t")
            if text == "broken":
                raise Internal("broken")
            return await echo.ask("end", "Open", on=neighbour) if text != "end" else "the end"

        echo.servicer.answer = answer
        yield echo, seen


async def ask(echo: EchoHost, text: str, traceparent: str = "") -> None:
    """Ask as somebody from outside does."""
    metadata = (("authorization", f"Bearer {OWNER}"), *([("traceparent", traceparent)] if traceparent else []))
    async with grpc.aio.insecure_channel(echo.address) as outside:
        with suppress(grpc.aio.AioRpcError):
            await echo.unary("Answer", on=outside)(StringValue(value=text), metadata=metadata)


async def test_a_call_and_what_is_called_on_its_behalf_are_one_trace(collector: Collector) -> None:
    async with chained() as (echo, seen):
        await ask(echo, "x", PARENT)
    await asyncio.to_thread(tracing.stop)
    (first,) = collector.named("Answer", Span.SPAN_KIND_SERVER)
    (out,) = collector.named("Open", Span.SPAN_KIND_CLIENT)
    (second,) = collector.named("Open", Span.SPAN_KIND_SERVER)
    _, trace, caller, _ = PARENT.split("-")
    assert {span.trace_id.hex() for span in (first, out, second)} == {trace} == set(seen)
    assert first.parent_span_id.hex() == caller
    assert (out.parent_span_id, second.parent_span_id) == (first.span_id, out.span_id)
    assert first.start_time_unix_nano <= second.start_time_unix_nano < second.end_time_unix_nano
    about = {each.key: each.value for each in first.attributes}
    assert about["rpc.service"].string_value == SERVICE
    assert about["rpc.grpc.status_code"].int_value == 0
    assert len(about["bloomery.request_id"].string_value) > 8
    assert collector.services == {"bloomery-test"}


async def test_a_call_from_nowhere_begins_a_trace_that_its_log_names(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written, log = StringIO(), logging.getLogger("bloomery.rpc")
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(log, "handlers", [handler])
    with caplog.at_level(logging.INFO, log.name):
        async with chained() as (echo, _):
            await ask(echo, "end")
    await asyncio.to_thread(tracing.stop)
    (span,) = collector.named("Answer", Span.SPAN_KIND_SERVER)
    assert span.parent_span_id == b""
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["trace_id"] for line in told if line["message"] == "rpc"] == [span.trace_id.hex()]


@pytest.mark.parametrize(("text", "is_error"), [("missing", False), ("broken", True)])
async def test_a_fault_of_ours_is_an_error_and_one_of_the_caller_is_none(
    collector: Collector, text: str, is_error: bool
) -> None:
    async with chained() as (echo, _):
        await ask(echo, text)
    await asyncio.to_thread(tracing.stop)
    (span,) = collector.named("Answer", Span.SPAN_KIND_SERVER)
    assert (span.status.code == Status.STATUS_CODE_ERROR) is is_error


async def test_what_the_caller_does_not_want_traced_is_not(collector: Collector) -> None:
    async with chained() as (echo, seen):
        await ask(echo, "x", PARENT.removesuffix("01") + "00")
    await asyncio.to_thread(tracing.stop)
    assert not collector.spans
    assert set(seen) == {PARENT.split("-")[1]}


async def test_streams_and_their_ends_are_spans_too(collector: Collector) -> None:
    async with running_host() as echo:
        assert len([message async for message in echo.watch()(StringValue(value="3"))]) == 3
        watching = echo.watch()(StringValue(value="1000000"))
        await watching.read()
        watching.cancel()
    await asyncio.to_thread(tracing.stop)
    codes = {
        each.value.int_value
        for span in collector.named("Watch", Span.SPAN_KIND_SERVER)
        for each in span.attributes
        if each.key == "rpc.grpc.status_code"
    }
    assert codes == {0, 1}


LATE = """
import time
from bloomery_kit import tracing
from bloomery_kit.logging import setup_logging
from bloomery_kit.settings import ProcessSettings, load_settings

setup_logging()
tracing.start(load_settings(ProcessSettings).tracing, "late")
tracing._tracing.begin("/a.B/C", "", served=True).end()
"""


def test_a_collector_that_is_away_holds_no_end_up() -> None:
    began = time.monotonic()
    environment = {"BLOOMERY_TRACING__ENDPOINT": f"http://127.0.0.1:{free_port()}", "PATH": ""}
    ended = subprocess.run([sys.executable, "-c", LATE], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < 20
    for line in ended.stderr.splitlines():
        json.loads(line)


def test_an_endpoint_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_TRACING__ENDPOINT", "collector:4317")
    with pytest.raises(SystemExit, match="BLOOMERY_TRACING__ENDPOINT"):
        load_settings(ProcessSettings)


def test_nothing_of_it_is_imported_while_it_is_off() -> None:
    code = "import sys, bloomery_kit.server, bloomery_kit.clients; print([x for x in sys.modules if 'telemetry' in x])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
