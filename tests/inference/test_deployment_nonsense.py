"""Requests about deployments that nobody means: each gets an answer or a reason, never an internal error."""

import random
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from bloomery.inference.v1 import deployment_service_pb2, serving_service_pb2
from tests import databases
from tests.inference.conftest import Service
from tests.inference.deploying import NAME, V1, V2, create, versions
from tests.inference.test_nonsense import EXPECTED, ROUNDS, answer, nonsense

DATABASES = databases.POSTGRES

FILES: list[Any] = [deployment_service_pb2, serving_service_pb2]
METHODS = [
    (file, method)
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.server_streaming
]
MEANT = {
    "name": (NAME, f"{NAME}/x", "projects/pets/deployments/gone"),
    "parent": ("projects/pets", NAME),
    "deployment_id": ("door", "window"),
    "model_version": (V1, V2, "projects/pets/models/pets/versions/latest"),
    "runtime": ("triton", "onnxruntime"),
    "id": ("r1", "r2"),
    "incarnation": ("first", "second"),
    "uid": ("a" * 32, "b" * 32),
}


def meant(draw: random.Random, request: Message) -> Any:
    """Put something that could be meant into some fields."""
    for field in request.DESCRIPTOR.fields:
        if field.message_type is not None and not field.is_repeated and request.HasField(field.name):
            meant(draw, getattr(request, field.name))
        elif field.name in MEANT and draw.random() < 0.7:
            setattr(request, field.name, draw.choice(MEANT[field.name]))
    return request


async def test_random_requests_never_cause_an_internal_error(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    draw = random.Random(11)
    for turn in range(ROUNDS * 2):
        if turn % 6 == 0:
            await answer(create(service))
        for file, method in METHODS:
            request = meant(draw, nonsense(draw, getattr(file, method.input_type.name)()))
            stub: Any = service.serving if file is serving_service_pb2 else service.deployments
            code = await answer(getattr(stub, method.name)(request))
            expected = {*EXPECTED, grpc.StatusCode.ALREADY_EXISTS}
            assert code is None or code in expected, (method.name, code, request)
