"""Requests that nobody means: each gets an answer or a reason, never an internal error."""

from pathlib import Path

import grpc
import pytest

from bloomery.inference.v1 import (
    ModelAlias,
    SetModelAliasRequest,
    deployment_service_pb2,
    model_service_pb2,
    serving_service_pb2,
)
from bloomery_kit.auth import service_token
from tests.inference.asking import PETS, recorded
from tests.inference.conftest import TOKEN, Service
from tests.inference.deploying import create, versions
from tests.inference.samples import trained
from tests.questions import questions_about

MODELS = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]
DEPLOYMENTS = deployment_service_pb2.DESCRIPTOR.services_by_name["DeploymentService"]
SERVING = serving_service_pb2.DESCRIPTOR.services_by_name["ServingService"]

pytestmark = pytest.mark.timeout(240)


async def test_random_requests_about_models_never_cause_an_internal_error(service: Service) -> None:
    async with grpc.aio.insecure_channel(service.target) as channel:
        asking = questions_about(channel, TOKEN, MODELS, seed=7)
        for _ in range(2):
            asking.memory.take_in(await refilled(service))
            await asking.look_around()
            await asking.play(100)
    assert asking.asked.problems == []
    assert asking.asked.of(MODELS.full_name)["OK"] > 30


async def test_random_requests_about_deployments_never_cause_an_internal_error(
    service: Service, tmp_path: Path
) -> None:
    await versions(service, tmp_path)
    async with grpc.aio.insecure_channel(service.target) as channel:
        asking = questions_about(channel, service_token(TOKEN), DEPLOYMENTS, SERVING, seed=11)
        for number in range(3):
            asking.memory.take_in(await create(service, name=f"projects/pets/deployments/door-{number}"))
            await asking.look_around()
            await asking.play(100)
    assert asking.asked.problems == []
    assert asking.asked.of(DEPLOYMENTS.full_name)["OK"] > 20


async def refilled(service: Service) -> ModelAlias:
    """Something to mean, as deletions are among what is asked for."""
    service.trainer.feed.append(trained(len(service.trainer.feed) + 1))
    version = await recorded(service, f"{PETS}/versions/latest")
    request = SetModelAliasRequest(name=f"{PETS}/aliases/champion", model_version=version.name)
    return await service.models.SetModelAlias(request)
