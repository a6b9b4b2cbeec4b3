"""Two people who ask two servers for whatever comes to their minds about one deployment, while others predict."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from bloomery.inference.v1 import (
    CreateDeploymentRequest,
    DeleteDeploymentRequest,
    Deployment,
    DeploymentServiceStub,
    GetModelAliasRequest,
    GetServingPlanRequest,
    ListModelAliasChangesRequest,
    PauseDeploymentRequest,
    PredictionServiceStub,
    PredictRequest,
    ResumeDeploymentRequest,
    RollBackDeploymentRequest,
    SetModelAliasRequest,
    UpdateDeploymentRequest,
)
from tests import databases
from tests.inference.asking import PETS, until
from tests.inference.conftest import Service
from tests.inference.deploying import NAME, V1, V2, V3, create, reason_of, state, versions
from tests.inference.test_predict import white
from tests.inference.test_two_servers import other

DATABASES = databases.POSTGRES
CHAMPION = f"{PETS}/aliases/champion"
WISHES = 30
REFUSALS = {"NOT_FOUND", "ALREADY_EXISTS", "ALIAS_DEPLOYED", "NO_CANDIDATE", "NOTHING_TO_ROLL_BACK", "ETAG_MISMATCH"}
UNANSWERED = {"NOT_FOUND", "DEPLOYMENT_PAUSED", "NO_REPLICA"}
"""What predictions may be told: there is no deployment, it rests, or nothing of it was ever loaded."""

__all__ = ["other"]


@pytest.mark.parametrize("seed", [1])
async def test_whatever_two_people_wish_it_ends_as_the_last_wish_and_nothing_is_between(
    service: Service, other: grpc.aio.Channel, tmp_path: Path, seed: int
) -> None:
    await versions(service, tmp_path, 3)
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    await create(service, f"{PETS}/versions/champion", runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    told: Counter[str] = Counter()
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for stub in (PredictionServiceStub(other), service.predictions):
            group.create_task(predict(stub, done, told))
        people = [
            group.create_task(wish(stub, random.Random(seed + number)))
            for number, stub in enumerate((service.deployments, DeploymentServiceStub(other)))
        ]
        await asyncio.wait(people)
        done.set()
    assert set(told) <= {"answered", *UNANSWERED}
    assert told["answered"]
    await ends_as_wished(service)


async def wish(stub: Any, draw: random.Random) -> None:
    """Ask for one thing after the other; what is refused says why."""
    for _ in range(WISHES):
        try:
            await one_wish(stub, draw)
        except grpc.aio.AioRpcError as error:
            if reason_of(error) not in REFUSALS:
                raise
        await asyncio.sleep(draw.random() * 0.05)


async def one_wish(stub: Any, draw: random.Random) -> None:
    version = draw.choice([V1, V2, V3])
    match draw.choice(["create", "update", "update", "share", "shadow", "pause", "resume", "roll back", "delete"]):
        case "create":
            wanted = Deployment(model_version=f"{PETS}/versions/champion", runtime="onnxruntime")
            await stub.CreateDeployment(
                CreateDeploymentRequest(parent="projects/pets", deployment_id="door", deployment=wanted)
            )
        case "update":
            await change(stub, model_version=version)
        case "share":
            await change(stub, model_version=version, traffic_percent=draw.choice([1, 50, 100]))
        case "shadow":
            await change(stub, model_version=version, shadow=True)
        case "pause":
            await stub.PauseDeployment(PauseDeploymentRequest(name=NAME))
        case "resume":
            await stub.ResumeDeployment(ResumeDeploymentRequest(name=NAME))
        case "roll back":
            request = RollBackDeploymentRequest(name=NAME, request_id=draw.choice(["", str(draw.random())]))
            first = await stub.RollBackDeployment(request)
            if request.request_id:
                await told_again(stub, request, first)
        case "delete" if draw.random() < 0.5:
            await stub.DeleteDeployment(DeleteDeploymentRequest(name=NAME))


async def told_again(stub: Any, request: RollBackDeploymentRequest, first: Deployment) -> None:
    again = await stub.RollBackDeployment(request)
    assert again == first or again.uid != first.uid


async def change(stub: Any, **fields: Any) -> None:
    await stub.UpdateDeployment(UpdateDeploymentRequest(deployment=Deployment(name=NAME, **fields)))


async def predict(stub: Any, done: asyncio.Event, told: Counter[str]) -> None:
    """Predict again and again, and count the answers and the reasons for none."""
    while not done.is_set():
        try:
            await stub.Predict(PredictRequest(deployment=NAME, image=white(32, 32)))
            told["answered"] += 1
        except grpc.aio.AioRpcError as error:
            told[reason_of(error)] += 1
        await asyncio.sleep(0.01)


async def ends_as_wished(service: Service) -> None:
    """A last wish is reached, its alias follows, and replicas have to load nothing else once the rest has drained."""
    with suppress(grpc.aio.AioRpcError):
        await service.deployments.DeleteDeployment(DeleteDeploymentRequest(name=NAME))
    await create(service, f"{PETS}/versions/champion", runtime="onnxruntime")
    await service.deployments.PauseDeployment(PauseDeploymentRequest(name=NAME))
    await service.deployments.ResumeDeployment(ResumeDeploymentRequest(name=NAME))
    await change(service.deployments, model_version=V3)
    ready = await state(service, Deployment.STATE_READY)
    assert (ready.serving.model_version, ready.HasField("candidate")) == (V3, False)
    alias = await service.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert alias.model_version == V3
    changes = (
        await service.models.ListModelAliasChanges(ListModelAliasChangesRequest(parent=CHAMPION))
    ).model_alias_changes
    assert [one.from_version for one in changes[:-1]] == [one.to_version for one in changes[1:]]
    plan = await until(
        lambda: service.serving.GetServingPlan(GetServingPlanRequest(replica_id="x", runtime="onnxruntime")),
        lambda plan: len(plan.models) == 1,
    )
    assert plan.models[0].uid == ready.serving.uid
