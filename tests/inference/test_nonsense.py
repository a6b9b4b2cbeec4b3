"""Requests to the registry that nobody means: each gets an answer or a reason, never an internal error."""

import os
import random
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from bloomery.inference.v1 import ModelAlias, SetModelAliasRequest, model_service_pb2
from tests.inference.asking import ONNX, PETS, V1, recorded
from tests.inference.conftest import Service
from tests.inference.samples import DATASET, trained

METHODS = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].methods
ROUNDS = int(os.environ.get("BLOOMERY_ROUNDS", "12"))
EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}
CHAMPION = f"{PETS}/aliases/champion"
TEXTS = (
    "",
    "-",
    "\0",
    "a\0b",
    "x" * 3000,
    "☃",
    "onnx",
    "fp32",
    "'; DROP TABLE aliases; --",
    "projects/-",
    "projects/pets",
    "projects/-/models/-",
    "projects/pets/jobs/mine",
    "test/map50",
    DATASET,
    PETS,
    V1,
    V1,
    f"{PETS}/versions/latest",
    f"{PETS}/versions/champion",
    f"{PETS}/versions/{'0' * 32}",
    f"{PETS}/versions/99999999999999999999",
    f"{PETS}/versions/-",
    CHAMPION,
    CHAMPION,
    f"{PETS}/aliases/latest",
    f"{PETS}/aliases/1",
    ONNX,
    f"dataset_version:{DATASET}",
    f"base:{V1}",
    "base:\0",
    "id:pets",
    "note",
    "state",
)
NUMBERS = {
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, -1.0, 0.5, 1e308, float("nan"), float("inf")),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 99),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, 2, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_INT32: (0, 1, 50, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
}


async def test_random_requests_never_cause_an_internal_error(service: Service) -> None:
    draw = random.Random(7)
    for turn in range(ROUNDS):
        for method in METHODS:
            if turn % 5 == 0 and method.name in {"SetModelAlias", "GetModelCard"}:
                await refilled(service)
            request = nonsense(draw, getattr(model_service_pb2, method.input_type.name)())
            code = await answer(getattr(service.models, method.name)(request))
            assert code is None or code in EXPECTED, (method.name, code, request)


async def answer(call: Any) -> grpc.StatusCode | None:
    """The code of a refusal, None for an answer."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def refilled(service: Service) -> None:
    """Something to mean, as deletions are among what is asked for."""
    number = len(service.trainer.feed) + 1
    service.trainer.feed.append(trained(number))
    version = await recorded(service, f"{PETS}/versions/latest")
    made = await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=version.name))
    assert isinstance(made, ModelAlias)


def nonsense(draw: random.Random, request: Message) -> Any:
    """Fill some fields of a message with something."""
    for field in request.DESCRIPTOR.fields:
        if draw.random() < 0.15:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.message_type is not None:
            inner = getattr(request, field.name)
            nonsense(draw, inner.add() if field.is_repeated else inner)
        elif field.is_repeated:
            getattr(request, field.name).extend([value(draw, field) for _ in range(draw.randrange(3))])
        else:
            setattr(request, field.name, value(draw, field))
    return request


def value(draw: random.Random, field: FieldDescriptor) -> Any:
    """Something of a field's type."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return draw.choice(TEXTS)
    choices: Sequence[Any] = NUMBERS[field.cpp_type]
    return draw.choice(choices)
