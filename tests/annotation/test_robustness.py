"""Requests that nobody would write."""

import random
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from bloomery.annotation.v1 import Project
from bloomery.annotation.v1.annotation_service_pb2 import DESCRIPTOR
from tests.annotation.helpers import AS_SERVICE, Server, box, digest_of, png

TEXTS = [
    "", "projects/p", "projects/p/labels/rbc", "projects/p/imports/i", "projects/-/assets/-", "projects/p/assets/-",
    "main", "rbc", "\0", "é" * 2000, "annotated", "label:\0", "sha256:" + "0" * 64, digest_of(png(1)), "../..", "%",
    "_", "a" * 64, "*",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 1000, 2**31 - 1, -(2**31)]
LARGE = [*NUMBERS, 2**63 - 1, -(2**63)]
REALS = [0.0, 1.5, -1.0, float("nan"), float("inf"), 1e308]


def value(field: FieldDescriptor, source: random.Random, names: list[str], depth: int) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            if field.type == FieldDescriptor.TYPE_BYTES:
                return source.randbytes(9)
            return source.choice(names if source.random() < 0.6 else TEXTS)
        case FieldDescriptor.CPPTYPE_INT64:
            return source.choice(LARGE)
        case FieldDescriptor.CPPTYPE_INT32:
            return source.choice(NUMBERS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return source.choice([0, 1, 2, 3, 99])
        case FieldDescriptor.CPPTYPE_BOOL:
            return source.random() < 0.5
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return random_message(field.message_type, source, names, depth + 1)
        case _:
            return source.choice(REALS)


def random_message(kind: Descriptor, source: random.Random, names: list[str], depth: int = 0) -> Message:
    message = GetMessageClass(kind)()
    for field in kind.fields:
        if depth > 4 or source.random() < 0.3:
            continue
        if kind.GetOptions().map_entry or not field.is_repeated:
            if field.message_type is None:
                setattr(message, field.name, value(field, source, names, depth))
            else:
                getattr(message, field.name).CopyFrom(value(field, source, names, depth))
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, held = field.message_type.fields
            entry = {value(key, source, names, depth): value(held, source, names, depth)}
            getattr(message, field.name).update(entry)
        else:
            getattr(message, field.name).extend(value(field, source, names, depth) for _ in range(source.randrange(3)))
    return message


async def world(server: Server, project_id: str) -> list[str]:
    """Names of what a project holds."""
    project: Project = await server.project(project_id)
    await server.label("rbc", project.name)
    asset = (await server.assets(project, [png(1)]))[0]
    saved = await server.save(asset, [box("rbc")])
    label = f"{project.name}/labels/rbc"
    return [project.name, project.name, label, asset.name, saved.name, saved.etag, f"{asset.name}/annotationSets/x"]


async def test_no_request_is_an_internal_error(both: Server) -> None:
    for number, method in enumerate(DESCRIPTOR.services_by_name["AnnotationService"].methods):
        names = await world(both, f"p{number}")
        source = random.Random(method.name)
        for _ in range(40):
            request = random_message(method.input_type, source, names)
            code = await outcome(getattr(both.stub, method.name)(request, timeout=1.0, metadata=AS_SERVICE))
            assert code not in ("INTERNAL", "UNKNOWN", "UNIMPLEMENTED"), request


async def outcome(call: Any) -> str:
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"
