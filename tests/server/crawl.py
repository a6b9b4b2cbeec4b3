"""Every Get and List of every service, asked about everything that a listing names."""

import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict

PACKAGES = ("access", "annotation", "dataset", "training", "inference")
READS = re.compile("Get|List|StreamAnnotationSets|StreamProblems")
# What comes a moment later, or from the folder of a worker.
ELSEWHERE = {"GetServingPlan", "ListAuditEntries", "GetLogs"}
URL = re.compile(r"https?://[^/]+/(?:[^?]*/)?([^/?]+)(\?.*)?$")
_ALIKE = 3
Answer = Any


@dataclass(frozen=True)
class Read:
    """One method, with the field of its request that names what it is asked about."""

    service: str
    descriptor: MethodDescriptor
    field: str

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.descriptor.name}"


def reads() -> Iterator[Read]:
    """All methods that read."""
    for package in PACKAGES:
        module = import_module(f"bloomery.{package}.v1")
        for found in pkgutil.iter_modules(module.__path__):
            if found.name.endswith("_service_pb2"):
                yield from _reads_of(import_module(f"{module.__name__}.{found.name}").DESCRIPTOR)


def _reads_of(file: Any) -> Iterator[Read]:
    for service in file.services_by_name.values():
        for method in service.methods:
            if READS.match(method.name) and method.name not in ELSEWHERE:
                fields = [field for field in ("parent", "name") if field in method.input_type.fields_by_name]
                yield Read(service.full_name, method, fields[0] if fields else "")


async def everything(channel: grpc.aio.Channel, token: str) -> dict[tuple[str, str], Answer]:
    """What each method answers about each name, errors too, found from the projects on."""
    methods = {read.path: read for read in reads()}
    answers: dict[tuple[str, str], Answer] = {}
    unfit: set[tuple[str, str]] = set()
    names: dict[str, list[str]] = {"": [""]}
    while True:
        missing = [
            (path, name)
            for path, read in methods.items()
            for collection, several in names.items()
            if (path, collection) not in unfit
            for name in several
            if (path, name) not in answers and bool(name) == bool(read.field)
        ]
        if not missing:
            return answers
        for path, name in missing:
            if (path, _collection(name)) in unfit:
                continue
            answers[path, name] = answer = await ask(channel, token, methods[path], name)
            if isinstance(answer, str) and answer.startswith("INVALID_ARGUMENT"):
                unfit.add((path, _collection(name)))
            for found in _names(answer):
                alike = names.setdefault(_collection(found), [])
                if found not in alike and len(alike) < _ALIKE:
                    alike.append(found)


async def ask(channel: grpc.aio.Channel, token: str, read: Read, name: str) -> Answer:
    """An answer as plain values, without what is made for the moment; an error as its code and words."""
    kinds = (
        message_factory.GetMessageClass(kind) for kind in (read.descriptor.input_type, read.descriptor.output_type)
    )
    request_type, answer_type = kinds
    request = request_type(**({read.field: name} if read.field else {}))
    call_type: Any = channel.unary_stream if read.descriptor.server_streaming else channel.unary_unary
    call = call_type(
        read.path, request_serializer=request_type.SerializeToString, response_deserializer=answer_type.FromString
    )(request, metadata=(("authorization", f"Bearer {token}"),), timeout=60)
    try:
        if read.descriptor.server_streaming:
            return [lasting(MessageToDict(message)) async for message in call]
        return lasting(MessageToDict(await call))
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name} {error.details()}"


def lasting(value: Answer) -> Answer:
    """Without hosts and signatures of URLs, and without when they expire."""
    if isinstance(value, Mapping):
        return {key: lasting(one) for key, one in value.items() if key not in ("expireTime", "expiresAt")}
    if isinstance(value, list):
        return [lasting(one) for one in value]
    return URL.sub(r"\1", value) if isinstance(value, str) else value


def _names(value: Answer) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(name := value.get("name"), str) and name.startswith("projects/"):
            yield name
        for one in value.values():
            yield from _names(one)
    elif isinstance(value, list):
        for one in value:
            yield from _names(one)


def _collection(name: str) -> str:
    return "/".join(name.split("/")[::2])
