"""Requests that nobody means, of every method that a server tells of, from what it has answered so far."""

import asyncio
import io
import itertools
import random
import re
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status
from PIL import Image

from bloomery.common.v1 import options_pb2
from bloomery_kit.auth import service_token
from bloomery_kit.errors import error_info

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
_TEXTS = (
    "",
    "-",
    "\0",
    "a\0b",
    "x" * 3000,
    "☃",
    "'; DROP TABLE projects; --",
    "../../etc/passwd",
    "projects/-",
    "projects//assets/",
    "projects/-/models/-/versions/latest",
    "99999999999999999999",
    "latest",
    "main",
    "sha256:" + "0" * 64,
    "http://169.254.169.254/latest",
    "id:\0",
    "label:☃",
    "onnx-fp32",
    "*",
)
_NUMBERS: dict[int, Sequence[Any]] = {
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, 0.5, 1.0, 10.0, -1.0, 1e308, float("nan"), float("inf"), float("-inf")),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, 0.5, -1.0, 1e38, float("nan"), float("inf")),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, 2, 1000, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT32: (0, 1, 2, 50, 1000, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
}
_LASTING = ("Project", "Model", "ModelVersion", "ModelVariant", "Dataset", "DatasetVersion")
_DELETED = {"DeleteDeployment": 0.1} | {f"Delete{kind}": 0.005 for kind in _LASTING}
"""How often a method is not left out when it is drawn."""
_DEPTH = 5
_KEPT = 48
_SHOWN = 100_000
"""Bytes of a request beyond which it takes long to write it down."""


def _png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (200, 60, 90)).save(file, "PNG")
    return file.getvalue()


_IMAGE = _png(48)
# Says that it has 60,000 pixels a side.
_BOMB = _IMAGE[:16] + (60_000).to_bytes(4, "big") * 2 + _IMAGE[24:]
_BYTES = (b"", b"\0", _IMAGE, _IMAGE, _IMAGE[: len(_IMAGE) // 2], _BOMB, b"GIF89a", b"<svg/>", bytes(70_000))


@dataclass
class Memory:
    """What a server has told: names, digests, etags and messages, from which the next requests are made."""

    draw: random.Random
    texts: dict[str, list[str]] = field(default_factory=dict)
    """By the name of the field."""
    names: list[str] = field(default_factory=list)
    messages: dict[str, list[Message]] = field(default_factory=dict)
    """By the full name of their type."""
    accepted: dict[str, list[Message]] = field(default_factory=dict)
    """Requests that were answered, by the full name of the method."""

    def accept(self, method: MethodDescriptor, request: Message) -> None:
        """Remember that a request was answered."""
        self._keep(self.accepted.setdefault(method.full_name, []), request)

    def take_in(self, message: Message) -> None:
        """Remember what is in a message."""
        self._keep(self.messages.setdefault(message.DESCRIPTOR.full_name, []), message)
        for about, value in message.ListFields():
            if about.message_type is not None and about.message_type.GetOptions().map_entry:
                continue
            for one in value if about.is_repeated else [value]:
                if about.message_type is not None:
                    self.take_in(one)
                elif about.type == FieldDescriptor.TYPE_STRING and len(one) < 600:
                    self._keep(self.texts.setdefault(about.name, []), one)
                    if one.startswith("projects/"):
                        self._keep(self.names, one)

    def named(self, pattern: str) -> str | None:
        """A name that a pattern such as `projects/*/jobs/*` means, where there is one."""
        fitting = re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))
        found = [name for name in self.names if fitting.fullmatch(name)]
        return self.draw.choice(found) if found else None

    def _keep(self, kept: list[Any], value: Any) -> None:
        if value in kept:
            return
        if len(kept) < _KEPT:
            kept.append(value)
        else:
            kept[self.draw.randrange(_KEPT)] = value


class Nonsense:
    """Draws requests: some have sense but for one field, others none at all."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._draw = memory.draw
        # How likely a field makes sense for itself.
        self._sense = memory.draw.choice((0.2, 0.8, 0.95, 1.0))

    def request(self, method: MethodDescriptor) -> Message:
        """A request of a method: a new one, or one that was answered and has another field or two now."""
        accepted, request, meant = self._memory.accepted.get(method.full_name), new(method.input_type), patterns(method)
        if not accepted or self._draw.random() < 0.5:
            return self._filled(request, meant, prefix="", depth=0)
        request.CopyFrom(self._draw.choice(accepted))
        fields = request.DESCRIPTOR.fields
        for about in self._draw.choices(fields, k=self._draw.randrange(3)) if fields else ():
            request.ClearField(about.name)
            self._fill(request, about, meant, about.name, 0)
        return request

    def _filled(self, message: Message, meant: Mapping[str, str], *, prefix: str, depth: int) -> Message:
        known = self._memory.messages.get(message.DESCRIPTOR.full_name)
        if copied := bool(known and depth and self._draw.random() < self._sense):
            message.CopyFrom(self._draw.choice(known or []))
        for about in message.DESCRIPTOR.fields:
            path = f"{prefix}{about.name}"
            within = any(one.startswith(f"{path}.") for one in meant)
            if path in meant or within or self._draw.random() < self._chance(copied):
                self._fill(message, about, meant, path, depth)
        return message

    def _chance(self, copied: bool) -> float:
        """How likely a field is filled that needs not be."""
        return 0.7 * (1 - self._sense) + (0.0 if copied else 0.3)

    def _fill(self, message: Message, about: FieldDescriptor, meant: Mapping[str, str], path: str, depth: int) -> None:
        there, kind = getattr(message, about.name), about.message_type
        if kind is not None and kind.GetOptions().map_entry:
            self._fill_map(there, kind)
        elif kind is not None:
            for _ in range((self._count() if about.is_repeated else 1) if depth < _DEPTH else 0):
                inner = there.add() if about.is_repeated else there
                inner.SetInParent()
                self._filled(inner, meant, prefix=f"{path}.", depth=depth + 1)
        elif about.is_repeated:
            there.extend([self._value(about, "") for _ in range(self._count())])
        else:
            setattr(message, about.name, self._value(about, meant.get(path, "")))

    def _count(self) -> int:
        return self._draw.choice((0, 1, 1, 2, 3)) if self._draw.random() < 0.98 else 1001

    def _fill_map(self, entries: Any, entry: Descriptor) -> None:
        value = entry.fields_by_name["value"]
        for _ in range(self._draw.randrange(3)):
            key = self._value(entry.fields_by_name["key"], "")
            if value.message_type is None:
                entries[key] = self._value(value, "")
            else:
                self._filled(entries[key], {}, prefix="", depth=_DEPTH - 1)

    def _value(self, about: FieldDescriptor, pattern: str) -> Any:
        sense = self._draw.random() < self._sense
        if about.enum_type is not None:
            return self._draw.choice([*(value.number for value in about.enum_type.values), *([] if sense else [99])])
        if about.type == FieldDescriptor.TYPE_BYTES:
            return _IMAGE if sense else self._draw.choice(_BYTES)
        if about.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._text(about, pattern) if sense else self._draw.choice([*_TEXTS, *self._memory.names[:9]])
        of_type = _NUMBERS[about.cpp_type]
        return self._draw.choice(of_type[:3] if sense else of_type)

    def _text(self, about: FieldDescriptor, pattern: str) -> str:
        """Something that such a field has had, or could."""
        if pattern and (found := self._memory.named(pattern)):
            return found
        known = self._memory.texts.get(about.name, [])
        if about.name in ("page_token", "filter", "etag") and self._draw.random() < 0.7:
            return ""
        if about.name.endswith("_id") and self._draw.random() < 0.5:
            return f"new-{self._draw.randrange(1000)}"
        return self._draw.choice(known) if known else ""


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
            until = asyncio.get_running_loop().time() + _GLANCE
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
        done, _ = await asyncio.wait([waiting], timeout=_GLANCE)
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


def new(of: Descriptor) -> Message:
    """An empty message."""
    made: Message = message_factory.GetMessageClass(of)()
    return made


def patterns(method: MethodDescriptor) -> dict[str, str]:
    """What the fields of a request are names of, by their paths: that of its address over HTTP."""
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[index]
    address = getattr(rule, rule.WhichOneof("pattern") or "get")
    return dict(re.findall(r"{([a-z_.]+)=([^}]+)}", address))


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
