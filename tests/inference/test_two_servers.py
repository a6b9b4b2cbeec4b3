"""Two replicas of the service on one PostgreSQL: each moves deployments, both load what is planned, each answers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from bloomery.inference.v1 import (
    Deployment,
    DeploymentServiceStub,
    ListModelAliasChangesRequest,
    PredictionServiceStub,
    PredictRequest,
    RollBackDeploymentRequest,
    SetModelAliasRequest,
    UpdateDeploymentRequest,
)
from bloomery_kit.clients import channel
from tests import databases
from tests.inference.asking import PETS, until
from tests.inference.conftest import TOKEN, Service, serving
from tests.inference.deploying import NAME, READY, V1, V2, V3, create, get, state, update, versions
from tests.inference.test_predict import white

DATABASES = databases.POSTGRES

CHAMPION = f"{PETS}/aliases/champion"


@pytest.fixture
async def other(service: Service, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a second server beside `service`."""
    own = {"replica_id": "second", "cache_dir": tmp_path / "second"}
    async with (
        serving(service.settings.model_copy(update=own)) as (_, port),
        channel(f"127.0.0.1:{port}", token=TOKEN) as opened,
    ):
        yield opened


async def test_both_load_what_is_planned_and_answer_and_the_alias_moves_once(
    service: Service, other: grpc.aio.Channel, tmp_path: Path
) -> None:
    await versions(service, tmp_path)
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    await create(service, f"{PETS}/versions/champion", runtime="onnxruntime")
    both = [READY, READY]
    await until(lambda: get(service), lambda found: [one.serving.state for one in found.replicas] == both)
    await update(service, model_version=V2)
    ready = await state(service, Deployment.STATE_READY)
    assert [one.serving.state for one in ready.replicas] == both
    for predictions in (service.predictions, PredictionServiceStub(other)):
        answer = await predictions.Predict(PredictRequest(deployment=NAME, image=white(32, 32)))
        assert answer.model_version == V2
    listed = await service.models.ListModelAliasChanges(ListModelAliasChangesRequest(parent=CHAMPION))
    assert [(one.from_version, one.to_version) for one in listed.model_alias_changes] == [(V1, V2), ("", V1)]


async def test_wishes_at_once_leave_one_of_them_and_what_serves_goes_on(
    service: Service, other: grpc.aio.Channel, tmp_path: Path
) -> None:
    await versions(service, tmp_path, 3)
    await create(service, runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    second = DeploymentServiceStub(other)
    wishes = [
        stub.UpdateDeployment(UpdateDeploymentRequest(deployment=Deployment(name=NAME, model_version=version)))
        for stub, version in ((service.deployments, V2), (second, V3))
    ]
    wished = await asyncio.gather(*wishes)
    ready = await state(service, Deployment.STATE_READY)
    assert ready.generation == max(one.generation for one in wished) == 3
    assert ready.serving.model_version in (V2, V3)
    rolled = await asyncio.gather(
        *(
            stub.RollBackDeployment(RollBackDeploymentRequest(name=NAME, etag=ready.etag))
            for stub in (service.deployments, second)
        ),
        return_exceptions=True,
    )
    (refused,) = (one for one in rolled if isinstance(one, grpc.aio.AioRpcError))
    assert refused.code() is grpc.StatusCode.ABORTED
