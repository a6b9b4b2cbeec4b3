"""Requests whose bytes are no message, to every method that is served anywhere."""

import logging
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from bloomery_kit.auth import service_token
from bloomery_kit.clients import channel
from bloomery_kit.errors import error_info
from bloomery_kit.server import ServiceHost
from bloomery_server.embedded import EmbeddedServer
from tests.kit.echo import status_of

# A length that goes beyond the end.
MALFORMED = b"\x0a\xff"


async def test_what_is_no_message_is_the_callers_fault_at_every_method(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    for host in (server._host, server._worker_host):
        async with channel(f"127.0.0.1:{host.port}", token=service_token(server._identity.token)) as caller:
            for method in methods(host):
                check(await answer(caller, method), method.full_name)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def methods(host: ServiceHost) -> Iterator[MethodDescriptor]:
    pool = descriptor_pool.Default()  # type: ignore[no-untyped-call]
    for name in (*host._checks, health.SERVICE_NAME, reflection.SERVICE_NAME):
        yield from pool.FindServiceByName(name).methods


async def answer(caller: grpc.aio.Channel, method: MethodDescriptor) -> status_pb2.Status:
    path = f"/{method.containing_service.full_name}/{method.name}"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if method.client_streaming:
            await anext(aiter(caller.stream_stream(path, bytes, bytes)(iter([MALFORMED]))))
        elif method.server_streaming:
            await anext(aiter(caller.unary_stream(path, bytes, bytes)(MALFORMED)))
        else:
            await caller.unary_unary(path, bytes, bytes)(MALFORMED)
    return await status_of(caught.value)


def check(status: status_pb2.Status, method: str) -> None:
    bad = error_details_pb2.BadRequest()
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], method
    assert error_info(status).reason == "MALFORMED_REQUEST"
    assert status.details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == ["request"]
