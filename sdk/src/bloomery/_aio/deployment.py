"""Deployments: a lasting name for the model version that answers."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Literal, Self

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery._aio.streaming import AsyncStreaming
from bloomery._fields import DeploymentFields, ModelVersionFields
from bloomery._names import MODEL_VERSION, parent_of
from bloomery._resolve import Resolver
from bloomery._session import Session
from bloomery._watch import follow
from bloomery.inference import v1 as inference

Runtime = Literal["onnxruntime", "triton"]


class AsyncDeployment(AsyncStreaming[inference.Deployment], DeploymentFields):
    """A lasting name for the model version that answers predictions.

    `predict` and its kin ask whatever it serves, which has its variant: they take no `variant`.
    """

    async def refresh(self) -> Self:
        """Read it again."""
        request = inference.GetDeploymentRequest(name=self.name)
        self._proto = await self._session.call(self._session.deployments.GetDeployment, request)
        return self

    async def update(
        self,
        model: str | ModelVersionFields | None = None,
        *,
        traffic: int | None = None,
        shadow: bool | None = None,
        variant: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Self:
        """Change what is given, and return at once; `wait` waits until it is reached.

        Args:
            model: a version of its model, such as "cells-v@2", which is loaded beside the one that serves and takes its
                place when every live replica has it.
            traffic: how many of 100 requests the new version answers instead of taking over, 0 to 100.
            shadow: the new version answers nothing; a sample of requests is asked of it as well.
            variant: id of the variant, such as "onnx-int8"; "" for the fastest.
            labels: take the place of all that it had.

        Raises:
            InvalidArgument: lists everything that cannot be.
            NotFound: there is no such version or variant.
            FailedPrecondition: the version is inactive or has no variant for the runtime, or a share is given and
                nothing is being brought in.
        """
        wanted = inference.Deployment(
            name=self.name,
            model_version=await _version(self._session, parent_of(self.name), model) if model is not None else "",
            variant=variant or "",
            shadow=bool(shadow),
            labels=labels,
        )
        given = {
            "model_version": model,
            "traffic_percent": traffic,
            "shadow": shadow,
            "variant": variant,
            "labels": labels,
        }
        if traffic is not None:
            wanted.traffic_percent = traffic
        if paths := [field for field, value in given.items() if value is not None]:
            request = inference.UpdateDeploymentRequest(deployment=wanted, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.deployments.UpdateDeployment, request)
        return self

    async def rollback(self) -> Self:
        """Give up what is being brought in, or else bring back what served before; returns at once.

        Raises:
            FailedPrecondition: there is neither.
        """
        request = inference.RollBackDeploymentRequest(name=self.name)
        self._proto = await self._session.call(self._session.deployments.RollBackDeployment, request)
        return self

    async def pause(self) -> Self:
        """Let it answer nothing, and take its models from all replicas."""
        request = inference.PauseDeploymentRequest(name=self.name)
        self._proto = await self._session.call(self._session.deployments.PauseDeployment, request)
        return self

    async def resume(self) -> Self:
        """Let a paused one load its models and answer again; returns at once."""
        request = inference.ResumeDeploymentRequest(name=self.name)
        self._proto = await self._session.call(self._session.deployments.ResumeDeployment, request)
        return self

    async def delete(self) -> None:
        """Delete it; its models leave the replicas, and its alias stays where it is."""
        request = inference.DeleteDeploymentRequest(name=self.name)
        await self._session.delete(self._session.deployments.DeleteDeployment, request)

    async def watch(self) -> AsyncIterator[inference.Deployment]:
        """Yield its states, the handle's own following, until it is READY, FAILED or PAUSED.

        Survives restarts of the server.

        Raises:
            NotFound: it is deleted; another one that has its id by now is not it.
        """

        def open_stream(cursor: int | None) -> AsyncGenerator[inference.Deployment, None]:
            request = inference.WatchDeploymentRequest(
                name=self.name, uid=self.proto.uid, after_sequence=cursor or 0, until_settled=True
            )
            return self._session.stream(self._session.deployments.WatchDeployment, request)

        async with aclosing(follow(self._session, open_stream, lambda state: state.sequence)) as states:
            async for state in states:
                self._proto = state
                yield state
                if self.is_settled:
                    return

    async def wait(self) -> Self:
        """Wait until what is wanted is reached.

        Raises:
            DeployFailed: it cannot be loaded; what served before goes on.
            NotFound: it is deleted.
        """
        if not self.is_settled:
            async for _ in self.watch():
                pass
        return self.check()

    async def disagreements(self) -> AsyncIterator[inference.DeploymentDisagreement]:
        """List images on which the serving version and the candidate did not agree, the last first."""
        request = inference.ListDeploymentDisagreementsRequest(parent=self.name)
        async for page in self._session.pages(self._session.deployments.ListDeploymentDisagreements, request):
            for one in page.deployment_disagreements:
                yield one

    async def disagreement_rate(self) -> inference.DisagreementRate | None:
        """How often they did not, with its interval; None where no candidate was ever named beside what serves."""
        request = inference.ListDeploymentDisagreementsRequest(parent=self.name, page_size=1)
        page = await self._session.call(self._session.deployments.ListDeploymentDisagreements, request)
        return page.rate if page.HasField("rate") else None

    def _address(self, request: inference.PredictRequest) -> None:
        request.deployment = self.name


async def create_deployment(
    session: Session,
    project: str,
    id: str,
    model: str,
    *,
    runtime: str,
    variant: str,
    labels: Mapping[str, str] | None,
) -> AsyncDeployment:
    """Create a deployment of a version that is given by its full name."""
    deployment = inference.Deployment(model_version=model, runtime=runtime, variant=variant, labels=labels)
    request = inference.CreateDeploymentRequest(parent=project, deployment_id=id, deployment=deployment)
    return AsyncDeployment(session, await session.call(session.deployments.CreateDeployment, request))


async def get_deployment(session: Session, name: str) -> AsyncDeployment:
    """Read a deployment by its full name."""
    request = inference.GetDeploymentRequest(name=name)
    return AsyncDeployment(session, await session.call(session.deployments.GetDeployment, request))


async def list_deployments(session: Session, parent: str, search: str = "") -> AsyncIterator[AsyncDeployment]:
    """The deployments of a project, or of all with the wildcard."""
    request = inference.ListDeploymentsRequest(parent=parent, filter=search)
    async for page in session.pages(session.deployments.ListDeployments, request):
        for deployment in page.deployments:
            yield AsyncDeployment(session, deployment)


async def _version(session: Session, project: str, model: str | ModelVersionFields) -> str:
    if isinstance(model, ModelVersionFields):
        return model.name
    return await Resolver(session, project).find(MODEL_VERSION, model)
