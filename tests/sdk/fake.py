"""A server of every service that answers what a test tells it to, and fails as told: the client's neighbour.

It runs in a thread of its own, so that blocking and asynchronous clients meet it alike, and on a real socket.
"""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status.rpc_status import to_status as abortable

from bloomery.annotation.v1 import annotation_service_pb2
from bloomery.dataset.v1 import dataset_service_pb2
from bloomery.inference import v1 as inference
from bloomery.inference.v1 import deployment_service_pb2, model_service_pb2, prediction_service_pb2
from bloomery.training.v1 import job_service_pb2
from bloomery_kit.errors import BloomeryError, InvalidArgument, NotFound, to_status

FILES = (
    annotation_service_pb2,
    dataset_service_pb2,
    deployment_service_pb2,
    model_service_pb2,
    prediction_service_pb2,
    job_service_pb2,
)
METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True)
class DropReply:
    """Do the work, then lose the answer, as a connection that breaks does."""


@dataclass(frozen=True)
class Hang:
    """Never answer."""


Fault = BloomeryError | DropReply | Hang
Answer = Message | Callable[[Any], Message]
Script = Callable[[Any], Iterable[object]]
"""From a request to what a stream sends: messages, an error that breaks it off, or Hang for silence."""

Talk = Callable[[AsyncIterator[Any]], AsyncIterator[object]]
"""The server's side of a stream of both sides: from requests as they come to what it sends, as of a Script."""

T = TypeVar("T")


class Fake:
    """Answers, faults and records by the rpc's name."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Any]] = defaultdict(list)
        self.tokens: list[str | None] = []
        self.answers: dict[str, Answer] = {}
        self.unknown: set[str] = set()
        """Methods that it does not serve."""
        self._scripts: dict[str, Script] = {}
        self._talks: dict[str, Talk] = {}
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, method: str, answer: Answer) -> None:
        """What a unary rpc returns: a message, or what a function makes of the request."""
        assert not _method(method).server_streaming
        self.answers[method] = answer

    def script(self, method: str, script: Script) -> None:
        """What a streaming rpc sends."""
        assert _method(method).server_streaming
        self._scripts[method] = script

    def converse(self, method: str, talk: Talk) -> None:
        """What an rpc that streams both ways sends."""
        assert _method(method).client_streaming
        self._talks[method] = talk

    def queue(self, method: str, *faults: Fault) -> None:
        """What goes wrong at the next calls of an rpc, one each."""
        self._faults[method] += faults

    def unused(self) -> list[str]:
        """Rpcs whose faults did not all happen."""
        return [method for method, faults in self._faults.items() if faults]

    def start(self) -> None:
        self.port = self._run(self._start())

    def stop(self) -> None:
        self._run(self._server.stop(None))

    def restart(self) -> None:
        """Stop as a crash does and come back on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> int:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return port

    async def unary(self, name: str, request: Message, context: Any) -> Message:
        self._record(name, request, context)
        fault = self._faults[name].popleft() if self._faults[name] else None
        if isinstance(fault, BloomeryError):
            await _abort(context, fault)
        if isinstance(fault, Hang):
            await asyncio.sleep(60)
        answer = self.answers[name]
        try:
            reply = answer(request) if callable(answer) else answer
        except BloomeryError as refused:
            await _abort(context, refused)
            raise
        context.set_trailing_metadata((("x-bloomery-version", "9.8.7"),))
        if isinstance(fault, DropReply):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        return reply

    async def stream(self, name: str, request: Message, context: Any) -> AsyncIterator[Message]:
        self._record(name, request, context)
        for item in self._scripts[name](request):
            yield await _sent(item, context)

    async def talk(self, name: str, requests: AsyncIterator[Message], context: Any) -> AsyncIterator[Message]:
        async def recorded() -> AsyncIterator[Message]:
            async for request in requests:
                self._record(name, request, context)
                yield request

        await context.send_initial_metadata(())
        talk = self._talks.get(name) or self._predicted
        async for item in talk(recorded()):
            yield await _sent(item, context)

    async def _predicted(self, requests: AsyncIterator[Any]) -> AsyncIterator[object]:
        """Frames as the real server answers them: each as Predict is told to, refusals of images one by one."""
        options = inference.PredictRequest()
        async for frame in requests:
            if frame.HasField("options"):
                options = frame.options
                continue
            request = inference.PredictRequest(image=frame.image, asset=frame.asset, blob=frame.blob)
            request.MergeFrom(options)
            self.calls["Predict"].append(request)
            faults, answer = self._faults["Predict"], self.answers["Predict"]
            fault = faults.popleft() if faults else None
            reply = inference.PredictStreamResponse(number=frame.number)
            if isinstance(fault, BloomeryError) and not _of_image(fault):
                yield fault
            elif isinstance(fault, BloomeryError):
                reply.status.CopyFrom(to_status(fault))
            else:
                seen: Any = await asyncio.to_thread(answer, request) if callable(answer) else answer
                reply.prediction.MergeFrom(seen)
            yield reply

    def _record(self, name: str, request: Message, context: Any) -> None:
        self.calls[name].append(request)
        self.tokens.append(dict(context.invocation_metadata()).get("authorization"))


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = METHODS.get(handler_call_details.method)
        if method is None or method.name in self._fake.unknown:
            return None
        name = method.name
        read = GetMessageClass(method.input_type).FromString
        write = GetMessageClass(method.output_type).SerializeToString

        async def stream(request: Message, context: Any) -> AsyncIterator[Message]:
            async for item in self._fake.stream(name, request, context):
                yield item

        async def talk(requests: AsyncIterator[Message], context: Any) -> AsyncIterator[Message]:
            async for item in self._fake.talk(name, requests, context):
                yield item

        async def unary(request: Message, context: Any) -> Message:
            return await self._fake.unary(name, request, context)

        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(talk, read, write)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, read, write)
        return grpc.unary_unary_rpc_method_handler(unary, read, write)


def _of_image(error: BloomeryError) -> bool:
    if isinstance(error, NotFound):
        return error.metadata["resource_type"] in ("asset", "blob")
    fields = {violation.field for violation in error.violations} if isinstance(error, InvalidArgument) else set()
    return bool(fields) and fields <= {"image", "asset", "blob", "region", "tiling"}


async def _sent(item: object, context: Any) -> Message:
    if isinstance(item, BloomeryError):
        await _abort(context, item)
    if isinstance(item, Hang):
        await asyncio.sleep(60)
    assert isinstance(item, Message)
    return item


async def _abort(context: Any, error: BloomeryError) -> None:
    status = abortable(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


def _method(name: str) -> MethodDescriptor:
    return next(method for method in METHODS.values() if method.name == name)


def numbered(items: Sequence[T], request: Any) -> tuple[Sequence[T], str]:
    """A page of items and the token of the next one, where a page has two."""
    start = int(request.page_token or 0)
    return items[start : start + 2], str(start + 2) if start + 2 < len(items) else ""
