"""Asking the service until it answers, and what tests ask for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2

from bloomery.inference.v1 import (
    GetModelVariantRequest,
    GetModelVersionRequest,
    ModelVariant,
    ModelVersion,
)
from bloomery_kit.errors import to_status
from tests.inference.conftest import Service
from tests.inference.models import one_box

T = TypeVar("T")
PETS = "projects/pets/models/pets"
V1 = f"{PETS}/versions/1"
ONNX = f"{V1}/variants/onnx-fp32"
BOX = one_box(16, 16, 8, 4, [0.9, 0.1])


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool] = lambda _: True) -> T:
    """The first answer that holds; NOT_FOUND is not an answer yet."""
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await ask()
                if holds(answer):
                    return answer
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.NOT_FOUND:
                    raise
            await asyncio.sleep(0.02)


async def until_true(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def recorded(service: Service, name: str = V1) -> ModelVersion:
    return await until(lambda: service.models.GetModelVersion(GetModelVersionRequest(name=name)))


async def variant_in(service: Service, state: ModelVariant.State.ValueType, name: str = ONNX) -> ModelVariant:
    request = GetModelVariantRequest(name=name)
    return await until(lambda: service.models.GetModelVariant(request), lambda variant: variant.state == state)


async def gone(service: Service, key: str) -> None:
    await until(lambda: service.objects.stat(key), lambda found: found is None and not service.datasets.held)


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields that a refusal names."""
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in to_status(error).details)
    return [violation.field for violation in bad.field_violations]


def subjects_of(error: grpc.aio.AioRpcError) -> list[str]:
    """What the violations of a failed precondition are about."""
    failure = error_details_pb2.PreconditionFailure()
    assert any(detail.Unpack(failure) for detail in to_status(error).details)
    return [violation.subject for violation in failure.violations]
