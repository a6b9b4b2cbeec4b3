"""Tells the inference service what a replica has loaded: after each change, and as a sign of life."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from bloomery.inference.v1 import ReportReplicaRequest
from bloomery_inference.agent.convert import replica_message
from bloomery_kit.errors import Unavailable, error_info, to_status

if TYPE_CHECKING:
    from bloomery.inference.v1.serving_service_pb2_grpc import ServingServiceAsyncStub
    from bloomery_inference.agent.plans import PlanSource
    from bloomery_inference.agent.replica import Replica

_FIRST_SECONDS = 5.0
_REPLACED = "REPLICA_REPLACED"


class Reporter:
    """Reports a replica under the name `replica_id`, with the `endpoint` (`host:port`) where its predictions go."""

    def __init__(
        self,
        serving: ServingServiceAsyncStub,
        replica: Replica,
        plans: PlanSource,
        *,
        replica_id: str,
        runtime: str,
        endpoint: str,
    ) -> None:
        self._serving = serving
        self._replica = replica
        self._plans = plans
        self._about = {"id": replica_id, "runtime": runtime, "endpoint": endpoint}
        self._pause = _FIRST_SECONDS
        self._replaced = ""

    async def report(self) -> None:
        """Say all once; where the service has another plan by now, ask for it."""
        message = replica_message(self._replica.report(), **self._about)
        try:
            answer = await self._serving.ReportReplica(ReportReplicaRequest(replica=message))
        except grpc.aio.AioRpcError as error:
            self._replaced = error.details() or _REPLACED if _reason(error) == _REPLACED else ""
            raise
        self._replaced = ""
        self._pause = max(0.1, answer.next_report.ToTimedelta().total_seconds())
        plan = self._replica.plan
        if plan is None or answer.generation != plan.generation:
            await self._plans.fetch()

    async def pause(self) -> None:
        """Until there is something new, or it is time for a sign of life."""
        await self._replica.changed.wait(self._pause)

    def check_ready(self) -> None:
        """Raise Unavailable REPLICA_REPLACED once another process reports under the same name."""
        if self._replaced:
            raise Unavailable(_REPLACED, self._replaced, None)


def _reason(error: grpc.aio.AioRpcError) -> str:
    return error_info(to_status(error)).reason
