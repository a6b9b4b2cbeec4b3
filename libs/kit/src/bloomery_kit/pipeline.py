"""One interceptor that runs every call, whatever its arity, inside a stack of layers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from bloomery_kit.errors import FieldViolation, InvalidArgument, to_status

# The stubs are generic, the classes are not.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_EXEMPT = ("/grpc.health.", "/grpc.reflection.")
# Stands for a request whose bytes are no message until a layer is there that can say so: what a deserializer raises,
# grpc answers itself, as a bug of ours.
_MALFORMED = object()


def code_name(number: int) -> str:
    """The name of a status code."""
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


@dataclass
class Call:
    """One call as the layers see it; `status` is set by the error layer when the call fails.

    `request` and `response` are those of calls that have one of each; a request that is no message of its type is None.
    A layer may set `admit`, which then looks at the first request of a stream before the handler does, and raises to
    refuse it; and `still`, which is asked before each answer of a stream, and raises to end it.
    """

    method: str
    arity: str
    metadata: dict[str, str | bytes]
    context: Context
    request: Message | None = None
    response: object = None
    by_service: bool = False
    recorded: bool = False
    start: float = field(default_factory=time.perf_counter)
    received: int = 0
    sent: int = 0
    status: status_pb2.Status | None = None
    cancelled: bool = False
    admit: Callable[[Any], Awaitable[None]] | None = None
    still: Callable[[], Awaitable[None]] | None = None

    @property
    def streams(self) -> bool:
        """Whether either side may live on, as a watch does."""
        return self.arity != "unary"

    @property
    def code(self) -> str:
        """The name of the code that the call ended with."""
        if self.cancelled:
            return "CANCELLED"
        if self.status is None:
            return "OK"
        return code_name(self.status.code)


Layer: TypeAlias = Callable[[Call], AbstractAsyncContextManager[None]]


class Pipeline(grpc.aio.ServerInterceptor):
    """Wraps handlers of all four arities in `layers`, outermost first. Health and reflection go past them.

    Bytes that are no message of the request's type are InvalidArgument MALFORMED_REQUEST, to every method.

    Handlers are coroutines, or async generators where the response is a stream. Each runs in its call's own task, so
    that cancellation reaches it where it waits and its `finally` blocks run at once.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Find the handler and wrap it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return None
        if method.startswith(_EXEMPT):
            return _bare(handler, method)
        metadata = dict(handler_call_details.invocation_metadata or ())
        return self._wrap(handler, method, metadata)

    def _wrap(self, handler: Any, method: str, metadata: dict[str, str | bytes]) -> Handler:
        arity = _arity(handler)

        async def answer(request: Any, context: Context) -> Any:
            async with AsyncExitStack() as stack:
                call = await self._enter(stack, Call(method, arity, metadata, context, _single(request)))
                behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
                response = await behaviour(_incoming(call, request, handler.request_streaming), context)
                call.sent += 1
                call.response = response
                return response

        async def stream(request: Any, context: Context) -> None:
            async with AsyncExitStack() as stack:
                call = await self._enter(stack, Call(method, arity, metadata, context, _single(request)))
                behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
                responses = behaviour(_incoming(call, request, handler.request_streaming), context)
                async with aclosing(responses):
                    async for response in responses:
                        if call.still is not None:
                            await call.still()
                        await context.write(response)
                        call.sent += 1

        return _METHOD_HANDLERS[handler.request_streaming, handler.response_streaming](
            stream if handler.response_streaming else answer,
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    async def _enter(self, stack: AsyncExitStack, call: Call) -> Call:
        for layer in self._layers:
            await stack.enter_async_context(layer(call))
        return call


_METHOD_HANDLERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
_ARITIES = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


def _arity(handler: Any) -> str:
    return _ARITIES[handler.request_streaming, handler.response_streaming]


def _bare(handler: Any, method: str) -> Handler:
    async def one(request: Any, context: Context) -> Any:
        behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
        return await behaviour(await _parsed_or_abort(request, method, context), context)

    async def chat(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        parsed = (await _parsed_or_abort(request, method, context) async for request in requests)
        async for response in handler.stream_stream(parsed, context):
            yield response

    return _METHOD_HANDLERS[handler.request_streaming, handler.response_streaming](
        chat if handler.request_streaming else one,
        request_deserializer=_tolerant(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _MALFORMED

    return parse


def _parsed(request: Any, method: str) -> Any:
    if request is _MALFORMED:
        what = f"its bytes are no message of the type that {method} takes; use the stubs of this server's version"
        raise InvalidArgument([FieldViolation("request", what)], "MALFORMED_REQUEST")
    return request


async def _parsed_or_abort(request: Any, method: str, context: Context) -> Any:
    try:
        return _parsed(request, method)
    except InvalidArgument as error:
        status = rpc_status.to_status(to_status(error))
        await context.abort(status.code, status.details, status.trailing_metadata or ())


def _single(request: Any) -> Message | None:
    return request if isinstance(request, Message) else None


def _incoming(call: Call, request: Any, streaming: bool) -> Any:
    if streaming:
        return _counted(call, request)
    call.received += 1
    return _parsed(request, call.method)


async def _counted(call: Call, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        call.received += 1
        parsed = _parsed(request, call.method)
        if call.admit is not None:
            await call.admit(parsed)
            call.admit, call.request = None, parsed
        yield parsed
