"""The replica inside the inference service: the models of its deployments in the runtime that `predict` uses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bloomery_inference.agent.model import Plan
from bloomery_inference.agent.model import PlannedModel as ToLoad
from bloomery_inference.agent.replica import LOOP, PLAN_LOOP, REPORT_LOOP, Replica
from bloomery_inference.serving import model as serving
from bloomery_inference.serving.plans import PLANS
from bloomery_kit.errors import Internal
from bloomery_vision.interpret import default_decoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.loading import LoadedModels
    from bloomery_inference.model import Variant
    from bloomery_inference.runtime import Tensors
    from bloomery_inference.serving.plans import Plans
    from bloomery_inference.serving.replicas import Replicas
    from bloomery_kit.feeds import Notifier
    from bloomery_kit.loops import Loops

RUNTIME = "onnxruntime"
_IDLE_SECONDS = 60.0
"""Between two signs of life of a replica that has nothing to serve."""


class HeldModels:
    """A `Loader` that holds models among those that predictions load as they need them; their files are a cache's."""

    def __init__(self, models: LoadedModels) -> None:
        self._models = models
        self._held: dict[str, Variant] = {}
        self.variants: dict[str, Variant] = {}
        """Those of the newest plan by uid."""

    async def load(self, model: ToLoad) -> None:
        """See Loader."""
        if model.uid in self._held:
            return
        variant = self.variants.get(model.uid)
        if variant is None:
            raise Internal(f"{model.title} has left the plan", reason="MODEL_NOT_PLANNED")
        await self._models.hold(variant)
        self._held[model.uid] = variant

    async def infer(self, uid: str, images: NDArray[np.uint8]) -> Tensors:
        """See Loader."""
        return await self._models.infer(self._held[uid], images)

    async def unload(self, uid: str) -> None:
        """See Loader."""
        if self._held.pop(uid, None):
            await self._models.let_go(uid)

    async def remove(self, uid: str) -> None:
        """See Loader."""
        await self.unload(uid)

    async def loaded(self) -> frozenset[str]:
        """See Loader."""
        return frozenset(self._held)

    async def known(self) -> frozenset[str]:
        """See Loader."""
        return frozenset(self._held)


class LocalReplica:
    """Brings the plan of this service's own database to a replica, and what it has loaded back there.

    `poll` are the seconds between two looks for what other processes have planned, `beat` those between signs of life.
    """

    def __init__(
        self,
        plans: Plans,
        replicas: Replicas,
        models: LoadedModels,
        *,
        changed: Notifier,
        replica_id: str,
        poll: float,
        beat: float,
    ) -> None:
        self._plans = plans
        self._replicas = replicas
        self._models = HeldModels(models)
        # What is in this process is not lost, and every prediction tells whether it answers.
        self.replica = Replica(self._models, look=math.inf, probe=math.inf)
        self._planned = changed.listen(PLANS)
        self._id = replica_id
        self._poll = poll
        self._beat = beat

    def add_to(self, loops: Loops) -> None:
        """Add the loops of this replica."""
        loops.add(PLAN_LOOP, self.look, self.wait_for_plan)
        loops.add(LOOP, self.replica.work, self.replica.pause)
        loops.add(REPORT_LOOP, self.report, self.wait_for_news)

    async def look(self) -> None:
        """Take the newest plan."""
        plan = await self._plans.current(RUNTIME)
        if self.replica.plan is None or plan.generation != self.replica.plan.generation:
            self._models.variants = {model.variant.uid: model.variant for model in plan.models}
            self.replica.want(Plan(plan.generation, tuple(map(_to_load, plan.models))))

    async def wait_for_plan(self) -> None:
        """Until there may be another one."""
        await self._planned.wait(self._poll)

    async def report(self) -> None:
        """Take down what it has now."""
        told = self.replica.report()
        await self._replicas.report(
            serving.Replica(
                id=self._id,
                incarnation=told.incarnation,
                runtime=RUNTIME,
                endpoint="",
                observed=told.observed_generation,
                models=told.models,
                sequence=told.sequence,
            )
        )

    async def wait_for_news(self) -> None:
        """Until there is something new, or it is time for a sign of life."""
        await self.replica.changed.wait(self._beat if self._models.variants else _IDLE_SECONDS)


def _to_load(planned: serving.PlannedModel) -> ToLoad:
    variant, content = planned.variant, planned.version.content
    decoder = content.decoder or default_decoder(content.task)
    title = f"{variant.title} as {variant.id}"
    return ToLoad(variant.uid, title, (), content.classes, content.input, decoder)
