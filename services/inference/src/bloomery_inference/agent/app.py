"""Wiring of the agent beside a Triton server."""

import asyncio
from pathlib import Path
from typing import Self

from bloomery.inference.v1 import ServingServiceStub
from bloomery_inference.agent.loader import StagedModels
from bloomery_inference.agent.plans import PlanSource
from bloomery_inference.agent.replica import LOOP, PLAN_LOOP, REPORT_LOOP, Replica
from bloomery_inference.agent.reporting import Reporter
from bloomery_inference.agent.settings import AgentSettings
from bloomery_inference.agent.staging import Staging, sweep
from bloomery_inference.runtime import TritonRuntime
from bloomery_kit.clients import neighbour
from bloomery_kit.loops import Loops
from bloomery_kit.server import ServiceHost

RUNTIME = "triton"
_LOOK_SECONDS = 1.0
"""Between two looks at what Triton has loaded, so that a restart is noticed before many predictions meet it."""
HEALTH = "bloomery.inference.agent"
"""Under which the health of the agent is told."""
OWN = ".bloomery"
"""What the agent keeps in Triton's model repository, which takes no notice of it."""


class AgentApp:
    """The agent's parts; `open`, `register`, `start`, `close` in this order."""

    def __init__(self, settings: AgentSettings) -> None:
        self._channel = neighbour(settings.inference_target, settings)
        self._runtime = TritonRuntime(settings.triton_target, settings.repository, load_timeout=settings.load_timeout)
        own = settings.repository / OWN
        self._staging = Staging(own / "models")
        self._replica = Replica(
            StagedModels(self._runtime, self._staging),
            look=_LOOK_SECONDS,
            probe=settings.probe_interval,
            retry=settings.retry,
        )
        serving = ServingServiceStub(self._channel)
        about = {"replica_id": settings.replica_id, "runtime": RUNTIME}
        self._plans = PlanSource(serving, self._replica, **about, kept=own / "plan")
        self._reporter = Reporter(serving, self._replica, self._plans, **about, endpoint=settings.endpoint)
        self.loops = Loops()
        self.loops.add(PLAN_LOOP, self._plans.follow, settings.retry)
        self.loops.add(LOOP, self._replica.work, self._replica.pause)
        self.loops.add(REPORT_LOOP, self._reporter.report, self._reporter.pause)

    @classmethod
    async def open(cls, settings: AgentSettings) -> Self:
        """Make the folders, remove what a crash has left in them, and begin with the plan that was kept."""
        await asyncio.to_thread(_prepare, settings.repository)
        app = cls(settings)
        await app._plans.take_kept()
        return app

    def register(self, host: ServiceHost) -> None:
        """Let a server tell the agent's health."""
        host.watch(HEALTH, self._ready)

    async def start(self) -> None:
        """Begin to follow the plan."""
        self.loops.start()

    async def close(self) -> None:
        """Stop, and leave the models in the Triton server."""
        await self.loops.close()
        await self._runtime.close()
        await self._staging.close()
        await self._channel.close()

    async def _ready(self) -> None:
        self.loops.check_ready()
        self._reporter.check_ready()
        self._replica.check_ready()


def _prepare(repository: Path) -> None:
    """The folders of an agent that is the only one here, without what was not whole when another one ended."""
    staged = repository / OWN / "models"
    staged.mkdir(parents=True, exist_ok=True)
    for folder in (repository, staged):
        sweep(folder)
