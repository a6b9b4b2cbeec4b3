"""Requests that nobody means: each gets an answer or a reason, never an internal error."""

import random
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from bloomery.dataset.v1 import dataset_service_pb2
from bloomery_dataset.settings import DatasetSettings
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import AS_SERVICE, DATASET, PARENT, Service, box

_METHODS = dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"].methods
_EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}
_TEXTS = (
    "",
    "-",
    "\0",
    "a\0b",
    "x" * 3000,
    "☃",
    "rbc",
    "new",
    "latest",
    "split:train",
    "class:RBC",
    "../..",
    "'; DROP TABLE versions; --",
    PARENT,
    DATASET,
    "projects/-",
    "projects/-/datasets/-",
    f"{DATASET}/versions/1",
    f"{DATASET}/versions/latest",
    f"{DATASET}/versions/{'0' * 32}",
    f"{DATASET}/versions/99999999999999999999",
)


@pytest.fixture
def settings(both_settings: DatasetSettings) -> DatasetSettings:
    return both_settings


async def test_random_requests_never_cause_an_internal_error(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    draw = random.Random(5)
    for _ in range(60):
        for method in _METHODS:
            await service.build() if draw.random() < 0.02 else None
            request = message(draw, getattr(dataset_service_pb2, method.input_type.name)())
            code = await answer(getattr(service.stub, method.name)(request, metadata=AS_SERVICE))
            assert code is None or code in _EXPECTED, (method.name, code, request)


async def answer(call: Any) -> grpc.StatusCode | None:
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                return None
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


def message(draw: random.Random, made: Message, depth: int = 0) -> Message:
    """The message with some of its fields set to anything."""
    for field in made.DESCRIPTOR.fields:
        if draw.random() < 0.4 or depth > 4:
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
                getattr(made, field.name)[draw.choice(_TEXTS)] = draw.choice(_TEXTS)
        elif field.is_repeated:
            if not field.message_type:
                getattr(made, field.name).extend([scalar(draw, field) for _ in range(draw.randint(0, 2))])
        elif field.message_type:
            message(draw, getattr(made, field.name), depth + 1)
        else:
            setattr(made, field.name, scalar(draw, field))
    return made


def scalar(draw: random.Random, field: FieldDescriptor) -> object:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return draw.choice(_TEXTS) if field.type == FieldDescriptor.TYPE_STRING else b"\0"
        case FieldDescriptor.CPPTYPE_BOOL:
            return draw.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return draw.choice([0.0, -1.0, float("nan"), float("inf")])
        case FieldDescriptor.CPPTYPE_ENUM:
            return draw.choice([0, 1, 2, 3, 99])
        case FieldDescriptor.CPPTYPE_INT64:
            return draw.choice([0, 1, -1, 2**63 - 1, -(2**63)])
        case _:
            return draw.choice([0, 1, 50, 100, -1, 2**31 - 1])
