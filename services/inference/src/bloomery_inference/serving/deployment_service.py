"""The servicer of deployments: convert, call, convert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty

from bloomery.inference.v1 import (
    CreateDeploymentRequest,
    DeleteDeploymentRequest,
    Deployment,
    DeploymentServiceServicer,
    GetDeploymentRequest,
    ListDeploymentDisagreementsRequest,
    ListDeploymentDisagreementsResponse,
    ListDeploymentsRequest,
    ListDeploymentsResponse,
    PauseDeploymentRequest,
    ResumeDeploymentRequest,
    RollBackDeploymentRequest,
    UpdateDeploymentRequest,
    WatchDeploymentRequest,
)
from bloomery_inference.names import PROJECT, parse_parent
from bloomery_inference.serving.convert_deployments import (
    deployment_change,
    deployment_message,
    disagreement_message,
    new_deployment,
    rate_message,
    sought,
)
from bloomery_inference.serving.deployments import Deployments
from bloomery_inference.serving.replicas import DEPLOYMENTS
from bloomery_kit.feeds import Notifier, watch_states
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.pages import PageRequest

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

_SETTLED = frozenset({Deployment.STATE_READY, Deployment.STATE_FAILED, Deployment.STATE_PAUSED})


class DeploymentServicer(DeploymentServiceServicer):
    """Deployments over gRPC."""

    def __init__(self, deployments: Deployments, *, changed: Notifier, draining: asyncio.Event) -> None:
        self._deployments = deployments
        self._changed = changed
        self._draining = draining

    async def CreateDeployment(self, request: CreateDeploymentRequest, context: Context) -> Deployment:
        """See the contract."""
        repeatable: Repeatable[Deployment] = Repeatable("CreateDeployment", request.parent, request)
        return await self._deployments.create(new_deployment(request), repeatable, deployment_message)

    async def GetDeployment(self, request: GetDeploymentRequest, context: Context) -> Deployment:
        """See the contract."""
        return deployment_message(await self._deployments.get(request.name))

    async def ListDeployments(self, request: ListDeploymentsRequest, context: Context) -> ListDeploymentsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        project = parse_parent(request.parent, PROJECT)["project"]
        views, token = await self._deployments.page(page, project=project, which=sought(request.filter))
        return ListDeploymentsResponse(deployments=map(deployment_message, views), next_page_token=token)

    async def UpdateDeployment(self, request: UpdateDeploymentRequest, context: Context) -> Deployment:
        """See the contract."""
        return deployment_message(await self._deployments.update(deployment_change(request)))

    async def PauseDeployment(self, request: PauseDeploymentRequest, context: Context) -> Deployment:
        """See the contract."""
        return deployment_message(await self._deployments.pause(request.name, paused=True))

    async def ResumeDeployment(self, request: ResumeDeploymentRequest, context: Context) -> Deployment:
        """See the contract."""
        return deployment_message(await self._deployments.pause(request.name, paused=False))

    async def RollBackDeployment(self, request: RollBackDeploymentRequest, context: Context) -> Deployment:
        """See the contract."""
        repeatable: Repeatable[Deployment] = Repeatable("RollBackDeployment", request.name, request)
        return await self._deployments.roll_back(request.name, request.etag, repeatable, deployment_message)

    async def DeleteDeployment(self, request: DeleteDeploymentRequest, context: Context) -> Empty:
        """See the contract."""
        await self._deployments.delete(request.name, request.etag)
        return Empty()

    async def WatchDeployment(self, request: WatchDeploymentRequest, context: Context) -> AsyncIterator[Deployment]:
        """See the contract."""
        first = deployment_message(await self._deployments.get(request.name, uid=request.uid))

        async def load() -> Deployment:
            return deployment_message(await self._deployments.get(first.name, uid=first.uid))

        states = watch_states(
            load,
            changed=self._changed,
            key=DEPLOYMENTS,
            until=lambda state: request.until_settled and state.state in _SETTLED,
            seen=lambda state: state.sequence <= request.after_sequence,
            draining=self._draining,
        )
        async for state in states:
            yield state

    async def ListDeploymentDisagreements(
        self, request: ListDeploymentDisagreementsRequest, context: Context
    ) -> ListDeploymentDisagreementsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        view, found, token = await self._deployments.disagreements(page, request.parent)
        return ListDeploymentDisagreementsResponse(
            deployment_disagreements=[disagreement_message(view, one) for one in found],
            next_page_token=token,
            rate=rate_message(view),
        )
