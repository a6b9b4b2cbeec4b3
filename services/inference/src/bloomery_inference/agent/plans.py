"""Where a replica hears what it has to load: from the inference service, and from what was kept of that before."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from bloomery.inference.v1 import GetServingPlanRequest, ServingPlan, WatchServingPlanRequest
from bloomery_inference.agent.convert import plan_of
from bloomery_inference.agent.replica import PLAN_LOOP, Replica
from bloomery_kit.loops import guarded

if TYPE_CHECKING:
    from bloomery.inference.v1.serving_service_pb2_grpc import ServingServiceAsyncStub


class PlanSource:
    """Brings the plans of a runtime to a replica, and keeps the newest in the file `kept`."""

    def __init__(
        self, serving: ServingServiceAsyncStub, replica: Replica, *, replica_id: str, runtime: str, kept: Path
    ) -> None:
        self._serving = serving
        self._replica = replica
        self._id = replica_id
        self._runtime = runtime
        self._kept = kept

    async def take_kept(self) -> None:
        """Begin with the plan that was kept, so that a replica serves also where nobody can be asked."""
        if (plan := await asyncio.to_thread(_read, self._kept)) is not None:
            self._replica.want(plan_of(plan))

    async def follow(self) -> None:
        """Take plans until the service ends the stream. Its first one comes at once, with requests that are fresh."""
        request = WatchServingPlanRequest(replica_id=self._id, runtime=self._runtime)
        async for plan in self._serving.WatchServingPlan(request):
            await self._take(plan)

    async def fetch(self) -> None:
        """Ask once: for what a watch does not bring, as where something between swallows its messages."""
        request = GetServingPlanRequest(replica_id=self._id, runtime=self._runtime)
        await self._take(await self._serving.GetServingPlan(request))

    async def _take(self, plan: ServingPlan) -> None:
        wanted = plan_of(plan)
        if not wanted.is_same(self._replica.plan):
            # It goes on with it also where it cannot be kept, as on a full disk.
            with guarded(PLAN_LOOP, generation=plan.generation):
                await asyncio.to_thread(_write, self._kept, plan)
        self._replica.want(wanted)


def _read(kept: Path) -> ServingPlan | None:
    try:
        return ServingPlan.FromString(kept.read_bytes())
    except (FileNotFoundError, DecodeError):
        return None


def _write(kept: Path, plan: ServingPlan) -> None:
    partial = kept.with_name(f"{kept.name}.part")
    with partial.open("wb") as stream:
        stream.write(plan.SerializeToString(deterministic=True))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(kept)
