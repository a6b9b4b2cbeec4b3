"""Deployments as tests ask for them, and a replica that reports what it is told to."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bloomery.inference.v1 import (
    CreateDeploymentRequest,
    Deployment,
    GetDeploymentRequest,
    GetServingPlanRequest,
    Replica,
    ReplicaModel,
    ReportReplicaRequest,
    ServingPlan,
    UpdateDeploymentRequest,
)
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import PETS, recorded, until
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import trained, with_facts, with_variant

NAME = "projects/pets/deployments/door"
V1, V2, V3 = (f"{PETS}/versions/{number}" for number in (1, 2, 3))
READY, FAILED, LOADING = ReplicaModel.STATE_READY, ReplicaModel.STATE_FAILED, ReplicaModel.STATE_LOADING
SCORES = {1: [0.1, 0.9], 2: [0.9, 0.1], 3: [0.2, 0.8]}
"""Of the box that each version sees: the first one a dog, the second a cat, the third a dog again."""


async def versions(service: Service, directory: Path, count: int = 2, *, side: int = 32) -> None:
    """Versions of pets, each with a READY variant that sees one box in the middle."""
    for number in range(1, count + 1):
        folder = await asyncio.to_thread(
            write_model, directory / f"v{number}", one_box(16, 16, 8, 4, SCORES[number]), side=side
        )
        item = with_facts(trained(number, side=side))
        service.trainer.feed.append(await with_variant(item, service.objects, folder))
    await recorded(service, f"{PETS}/versions/{count}")


async def create(
    service: Service, version: str = V1, *, name: str = NAME, runtime: str = "triton", **fields: object
) -> Deployment:
    """A deployment, by default on a runtime of which there are only scripted replicas."""
    deployment = Deployment(model_version=version, runtime=runtime, **fields)  # type: ignore[arg-type]
    parent, _, deployment_id = name.partition("/deployments/")
    request = CreateDeploymentRequest(parent=parent, deployment_id=deployment_id, deployment=deployment)
    return await service.deployments.CreateDeployment(request)


async def update(service: Service, *, name: str = NAME, **fields: object) -> Deployment:
    deployment = Deployment(name=name, **fields)  # type: ignore[arg-type]
    return await service.deployments.UpdateDeployment(UpdateDeploymentRequest(deployment=deployment))


async def get(service: Service, name: str = NAME) -> Deployment:
    return await service.deployments.GetDeployment(GetDeploymentRequest(name=name))


async def state(service: Service, wanted: Deployment.State.ValueType, name: str = NAME) -> Deployment:
    return await until(lambda: get(service, name), lambda found: found.state == wanted)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return error_info(to_status(error)).reason


@dataclass
class Scripted:
    """A replica that has what it is told to have, and reports it."""

    service: Service
    id: str = "r1"
    runtime: str = "triton"
    endpoint: str = "127.0.0.1:9"
    incarnation: str = "first"
    refused: dict[str, str] = field(default_factory=dict)
    """Why it cannot load some models, by uid."""
    sequence: int = 0

    async def plan(self) -> ServingPlan:
        return await self.service.serving.GetServingPlan(
            GetServingPlanRequest(replica_id=self.id, runtime=self.runtime)
        )

    async def follow(self) -> list[str]:
        """Load what the plan has, as far as it can be loaded, and report it; the uids of the plan."""
        plan = await self.plan()
        uids = [model.uid for model in plan.models]
        await self.report({uid: FAILED if uid in self.refused else READY for uid in uids}, plan.generation)
        return uids

    async def report(self, models: dict[str, ReplicaModel.State.ValueType], generation: int = 0) -> None:
        self.sequence += 1
        loaded = [ReplicaModel(uid=uid, state=state, reason=self.refused.get(uid, "")) for uid, state in models.items()]
        replica = Replica(
            id=self.id,
            incarnation=self.incarnation,
            runtime=self.runtime,
            endpoint=self.endpoint,
            observed_generation=generation,
            models=loaded,
            sequence=self.sequence,
        )
        await self.service.serving.ReportReplica(ReportReplicaRequest(replica=replica))
