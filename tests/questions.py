"""Asking services for nonsense: every method of theirs, by who may, and what is wrong with the answers."""

import asyncio
import itertools
import random
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from bloomery.common.v1 import options_pb2
from bloomery_kit.auth import service_token
from bloomery_kit.errors import error_info
from tests.nonsense import Memory, Nonsense

PATIENCE = 60.0
"""Seconds after which a call that has said nothing hangs."""
_GLANCE = 0.5
"""Seconds after which a caller loses interest in a stream."""
_FAULTS = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
_LASTING = ("Project", "Model", "ModelVersion", "ModelVariant", "Dataset", "DatasetVersion")
_DELETED = {"DeleteDeployment": 0.1} | {f"Delete{kind}": 0.005 for kind in _LASTING}
"""How often a method is not left out when it is drawn."""
_SHOWN = 100_000
"""Bytes of a request beyond which it takes long to write it down."""


@dataclass
class Asked:
    """What became of the requests: how many of a method, by their answers, and what should not have been."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By method and the code of the answer, `OK` for one."""
    problems: list[str] = field(default_factory=list)

    def of(self, service: str) -> Counter[str]:
        """The answers of a service by code."""
        found: Counter[str] = Counter()
        for (method, code), count in self.answers.items():
            if method.rpartition(".")[0] == service:
                found[code] += count
        return found


@dataclass
class Asker:
    """Somebody who asks a server for nonsense, and remembers what it says. The channel is without interceptors, which
    leave tasks behind where a stream is given up."""

    channel: grpc.aio.Channel
    memory: Memory
    asked: Asked
    token: str = ""
    glance: float = _GLANCE

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What its calls carry."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    async def ask(self, method: MethodDescriptor) -> None:
        """Ask once."""
        request = Nonsense(self.memory).request(method)
        try:
            async with asyncio.timeout(PATIENCE):
                code = await self._answer(method, request)
            self.memory.accept(method, request)
        except TimeoutError:
            code = "HANGS"
            self._wrong(method, request, code)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if trouble := wrong_with(error):
                self._wrong(method, request, f"{code} {trouble}: {error.details()}")
        except Exception:  # noqa: BLE001 - of the client: told as well
            code = "CLIENT"
            self._wrong(method, request, traceback.format_exc())
        self.asked.answers[method.full_name, code] += 1

    def _wrong(self, method: MethodDescriptor, request: Message, what: str) -> None:
        size = request.ByteSize()
        shown = str(request)[:2000] if size < _SHOWN else f"{size} bytes"
        self.asked.problems.append(f"{method.full_name}: {what}\n{shown}")

    async def _answer(self, method: MethodDescriptor, request: Message) -> str:
        async with aclosing(self._answers(method, request)) as answers:
            until = asyncio.get_running_loop().time() + self.glance
            async for answer in answers:
                self.memory.take_in(answer)
                if asyncio.get_running_loop().time() > until:
                    break
        return "OK"

    async def _answers(self, method: MethodDescriptor, request: Message) -> AsyncGenerator[Message, None]:
        path = f"/{method.containing_service.full_name}/{method.name}"
        codec = (_packed, message_factory.GetMessageClass(method.output_type).FromString)
        if not method.server_streaming:
            yield await self.channel.unary_unary(path, *codec)(request, metadata=self.metadata)
            return
        if method.client_streaming:
            call: Any = self.channel.stream_stream(path, *codec)(metadata=self.metadata)
            answers = self._told(call, method, request)
        else:
            call = self.channel.unary_stream(path, *codec)(request, metadata=self.metadata)
            answers = self._heard(call)
        try:
            async for answer in answers:
                yield answer
        finally:
            call.cancel()

    async def _told(self, call: Any, method: MethodDescriptor, request: Message) -> AsyncGenerator[Message, None]:
        """The answers to the options and a few frames, each told when the one before is answered: grpc hides what a
        server says while something is written (findings/grpc-write-hides-status.sh)."""
        await call.write(request)
        # A write to a stream that was refused says nothing about why.
        await call.initial_metadata()
        for _ in range(3):
            with suppress(asyncio.InvalidStateError):
                await call.write(Nonsense(self.memory).request(method))
            if (answer := await self._next(call)) is None:
                return
            yield answer
        await call.done_writing()

    async def _heard(self, call: Any) -> AsyncGenerator[Message, None]:
        while (answer := await self._next(call)) is not None:
            yield answer

    async def _next(self, call: Any) -> Message | None:
        """The next message of a stream, None at its end or where nothing comes for the moment."""
        waiting = asyncio.ensure_future(call.read())
        done, _ = await asyncio.wait([waiting], timeout=self.glance)
        if not done:
            waiting.cancel()
            await asyncio.wait([waiting])
            return None
        return None if waiting.result() is grpc.aio.EOF else waiting.result()


@dataclass
class Questions:
    """All that a server can be asked, each by somebody who may."""

    memory: Memory
    asked: Asked
    askers: Mapping[str, Asker]
    """By the full name of the method."""
    methods: Sequence[MethodDescriptor]

    @property
    def services(self) -> Mapping[str, Sequence[MethodDescriptor]]:
        """The methods of each, by its full name."""
        found: dict[str, list[MethodDescriptor]] = {}
        for method in self.methods:
            found.setdefault(method.containing_service.full_name, []).append(method)
        return found

    def mean(self, name: str, request: Message) -> None:
        """Let a request be one that others are made from; `name` is the method's full one."""
        self.memory.accept(next(method for method in self.methods if method.full_name == name), request)

    async def look_around(self) -> None:
        """Read what there is, from the projects down."""
        for _ in range(3):
            for method in self.methods:
                if method.name.startswith(("List", "Get")):
                    await self._ask(method)

    async def play(self, requests: int, *, together: int = 4) -> None:
        """Ask so often, by some at once, all services alike."""
        turns = itertools.islice(itertools.cycle(self.services.values()), requests)

        async def play_on() -> None:
            for among in turns:
                await self._ask(self._chosen(among))

        async with asyncio.TaskGroup() as group:
            for _ in range(together):
                group.create_task(play_on())

    async def _ask(self, method: MethodDescriptor) -> None:
        await self.askers[method.full_name].ask(method)

    def _chosen(self, among: Sequence[MethodDescriptor]) -> MethodDescriptor:
        draw = self.memory.draw
        while True:
            method = draw.choice(among)
            # What all else is about stays for a while.
            if not method.name.startswith("Delete") or draw.random() < _DELETED.get(method.name, 0.3):
                return method


async def questions(target: grpc.aio.Channel, workers: grpc.aio.Channel, token: str, memory: Memory) -> Questions:
    """All that can be asked of a server, over its channels for people and for workers, by who has the owner's token."""
    asked = Asked()
    owner = Asker(target, memory, asked, token)
    others = {
        options_pb2.ROLE_SERVICE: Asker(target, memory, asked, service_token(token)),
        options_pb2.ROLE_WORKER: Asker(workers, memory, asked),
    }
    found = [*await methods(owner), *await methods(replace(owner, channel=workers))]
    roles = {method.full_name: method.GetOptions().Extensions[options_pb2.required_role] for method in found}
    askers = {name: others.get(role, owner) for name, role in roles.items()}
    return Questions(memory, asked, askers, found)


def questions_about(
    channel: grpc.aio.Channel, token: str, *services: ServiceDescriptor, seed: int, glance: float = 0.05
) -> Questions:
    """All that can be asked of some services over a channel, by who has a token."""
    asker = Asker(channel, Memory(random.Random(seed)), Asked(), token, glance)
    found = [method for service in services for method in service.methods]
    return Questions(asker.memory, asker.asked, {method.full_name: asker for method in found}, found)


def wrong_with(error: grpc.aio.AioRpcError) -> str:
    """What is wrong with a refusal; empty for nothing."""
    if error.code() in _FAULTS:
        return "is a fault of the server"
    if "larger than max" in (error.details() or ""):
        # Said by gRPC itself, before there is a call.
        return ""
    status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]
    if status is None or not error_info(status).reason:
        return "has no reason"
    bad = error_details_pb2.BadRequest()
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT and not any(one.Unpack(bad) for one in status.details):
        return "names no field"
    return ""


async def methods(asker: Asker) -> list[MethodDescriptor]:
    """All that a server serves, as it tells by reflection."""
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    of = reflection_pb2.ServerReflectionResponse.FromString
    call = asker.channel.stream_stream(path, _packed, of)(metadata=asker.metadata)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    await call.done_writing()
    names = [service.name async for answer in call for service in answer.list_services_response.service]
    pool = descriptor_pool.Default()  # type: ignore[no-untyped-call]
    ours = [name for name in names if name.startswith("bloomery.")]
    return [method for name in sorted(ours) for method in pool.FindServiceByName(name).methods]


def _packed(message: Message) -> bytes:
    return message.SerializeToString()
