"""The servicers: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration

from bloomery.inference.v1 import (
    GetServingPlanRequest,
    PlannedFile,
    ReportReplicaRequest,
    ReportReplicaResponse,
    ServingPlan,
    ServingServiceServicer,
    WatchServingPlanRequest,
)
from bloomery_inference.model import Artifact
from bloomery_inference.serving.convert import planned_message, replica_of, runtime_of
from bloomery_inference.serving.model import Plan
from bloomery_inference.serving.plans import Plans
from bloomery_inference.serving.replicas import Replicas
from bloomery_kit.errors import Violations
from bloomery_kit.objects import ObjectStore, SignedRequest
from bloomery_kit.signed import signed_message
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

DOWNLOAD_LIFETIME = timedelta(hours=1)


class ServingServicer(ServingServiceServicer):
    """Plans and reports over gRPC; a replica that was heard is to be heard again within `beat` seconds."""

    def __init__(
        self, plans: Plans, replicas: Replicas, objects: ObjectStore, *, beat: float, clock: Clock = utc_now
    ) -> None:
        self._plans = plans
        self._replicas = replicas
        self._objects = objects
        self._beat = timedelta(seconds=beat)
        self._clock = clock

    async def GetServingPlan(self, request: GetServingPlanRequest, context: Context) -> ServingPlan:
        """See the contract."""
        return await self._message(await self._plans.current(_runtime(request)))

    async def WatchServingPlan(self, request: WatchServingPlanRequest, context: Context) -> AsyncIterator[ServingPlan]:
        """See the contract."""
        async for plan in self._plans.watch(_runtime(request), request.after_generation):
            yield await self._message(plan)

    async def ReportReplica(self, request: ReportReplicaRequest, context: Context) -> ReportReplicaResponse:
        """See the contract."""
        generation = await self._replicas.report(replica_of(request.replica))
        next_report = Duration()
        next_report.FromTimedelta(self._beat)
        return ReportReplicaResponse(generation=generation, next_report=next_report)

    async def _message(self, plan: Plan) -> ServingPlan:
        models = [
            planned_message(model, [await self._file(artifact) for artifact in model.variant.result.artifacts])
            for model in plan.models
        ]
        return ServingPlan(generation=plan.generation, models=models)

    async def _file(self, artifact: Artifact) -> PlannedFile:
        url = await self._objects.sign_get(artifact.logical_key, expires=DOWNLOAD_LIFETIME)
        return PlannedFile(
            file_name=artifact.file_name,
            digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            get=signed_message(SignedRequest(url, self._clock() + DOWNLOAD_LIFETIME)),
        )


def _runtime(request: GetServingPlanRequest | WatchServingPlanRequest) -> str:
    violations = Violations()
    runtime = runtime_of(request.runtime, "runtime", violations)
    violations.raise_if_any()
    return runtime
