"""A service whose methods a test fills in, with a real descriptor that declares their roles."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import status_pb2
from grpc_status import rpc_status

from bloomery.common.v1 import options_pb2
from bloomery_kit.audit import AuditLog
from bloomery_kit.auth import OwnerToken, Principal, Role
from bloomery_kit.clients import channel
from bloomery_kit.server import ServerOptions, ServiceHost

SERVICE = "bloomery.kittest.v1.EchoService"
OWNER = "owner-token"
_ROLES = {
    "Answer": Role.VIEWER,
    "Train": Role.TRAINER,
    "Open": Role.PUBLIC,
    "Work": Role.WORKER,
    "Serve": Role.SERVICE,
    "Unruled": Role.UNSPECIFIED,
    "Watch": Role.VIEWER,
    "Join": Role.VIEWER,
    "Chat": Role.VIEWER,
    "Read": Role.VIEWER,
}


def _declare() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="bloomery/kittest/v1/echo.proto",
        package="bloomery.kittest.v1",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto", "bloomery/common/v1/options.proto"],
    )
    service = file.service.add(name="EchoService")
    for name, role in _ROLES.items():
        method = service.method.add(
            name=name, input_type=".google.protobuf.StringValue", output_type=".google.protobuf.StringValue"
        )
        if role:
            method.options.Extensions[options_pb2.required_role] = options_pb2.Role.ValueType(role)
        if name == "Read":
            method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call]


_declare()


async def _say(text: str) -> str:
    return f"heard {text}"


async def _count(text: str) -> AsyncIterator[str]:
    for number in range(int(text)):
        yield str(number)


@dataclass
class EchoServicer:
    """What the methods do: `answer` for all that answer once, `watch` for those that answer with a stream."""

    answer: Callable[[str], Awaitable[str]] = _say
    watch: Callable[[str], AsyncIterator[str]] = _count

    async def unary(self, request: StringValue, context: Any) -> StringValue:
        return StringValue(value=await self.answer(request.value))

    async def stream(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        async for text in self.watch(request.value):
            yield StringValue(value=text)

    async def join(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        return StringValue(value=await self.answer(" ".join([request.value async for request in requests])))

    async def chat(self, requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=await self.answer(request.value))


def register(servicer: EchoServicer, server: grpc.aio.Server) -> None:
    codec: dict[str, Any] = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(servicer.unary, **codec)
        for name in ("Answer", "Train", "Open", "Work", "Serve", "Unruled", "Read")
    }
    handlers["Watch"] = grpc.unary_stream_rpc_method_handler(servicer.stream, **codec)
    handlers["Join"] = grpc.stream_unary_rpc_method_handler(servicer.join, **codec)
    handlers["Chat"] = grpc.stream_stream_rpc_method_handler(servicer.chat, **codec)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class Tokens:
    """The owner, and one viewer."""

    def __init__(self) -> None:
        self._owner = OwnerToken(OWNER)

    async def authenticate(self, token: str) -> Principal:
        return Principal("vera", Role.VIEWER) if token == "viewer-token" else await self._owner.authenticate(token)

    again = authenticate


@dataclass
class EchoHost:
    """A running server, its servicer, and a channel of the owner."""

    host: ServiceHost
    servicer: EchoServicer
    channel: grpc.aio.Channel
    address: str = field(default="")

    def unary(self, method: str, *, on: grpc.aio.Channel | None = None) -> Any:
        return (on or self.channel).unary_unary(
            f"/{SERVICE}/{method}", StringValue.SerializeToString, StringValue.FromString
        )

    def watch(self, *, on: grpc.aio.Channel | None = None) -> Any:
        return (on or self.channel).unary_stream(
            f"/{SERVICE}/Watch", StringValue.SerializeToString, StringValue.FromString
        )

    async def ask(self, text: str, method: str = "Answer", *, on: grpc.aio.Channel | None = None) -> str:
        answer: StringValue = await self.unary(method, on=on)(StringValue(value=text))
        return answer.value

    async def fail(
        self, text: str = "x", method: str = "Answer", *, on: grpc.aio.Channel | None = None
    ) -> status_pb2.Status:
        """Call a method that must fail and return its status."""
        try:
            await self.ask(text, method, on=on)
        except grpc.aio.AioRpcError as error:
            return await status_of(error)
        raise AssertionError(f"{method} did not fail")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what tells nobody when it happens."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The rich status of a failed call."""
    status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, error
    return status


@asynccontextmanager
async def running_host(
    options: ServerOptions | None = None, audit: AuditLog | None = None, **fields: Any
) -> AsyncIterator[EchoHost]:
    """A server on a free port that writes what people do into `audit`; `fields` go to its ServiceHost."""
    fields.setdefault("authenticator", Tokens())
    host = ServiceHost(options or ServerOptions(drain_wait=0), **fields)
    servicer = EchoServicer()
    host.add(register, servicer, SERVICE, audit=audit)
    address = f"127.0.0.1:{await host.start()}"
    try:
        async with channel(address, token=OWNER) as owner:
            yield EchoHost(host, servicer, owner, address)
    finally:
        if not host.draining.is_set():
            await host.drain(0)
