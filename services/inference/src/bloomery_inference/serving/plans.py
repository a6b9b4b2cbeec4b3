"""What the replicas of each runtime have to load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

from bloomery_inference.serving.model import Plan, PlannedModel
from bloomery_inference.store import deployments, models, variants
from bloomery_kit.database import Database, Transaction
from bloomery_kit.feeds import Notifier, watch_states

PLANS = "plans"
"""Key of the notifier that says that a plan has changed."""


class Plans:
    """The plans that follow from the deployments in the database; `changed` is told of new ones."""

    def __init__(self, db: Database, *, changed: Notifier, draining: asyncio.Event) -> None:
        self._db = db
        self._changed = changed
        self._draining = draining

    async def current(self, runtime: str) -> Plan:
        """The plan of a runtime."""
        async with self._db.read() as tx:
            return await plan_in(tx, runtime)

    async def generation(self, runtime: str) -> int:
        """The generation of a runtime's plan."""
        async with self._db.read() as tx:
            return await deployments.plan_generation(tx, runtime)

    async def watch(self, runtime: str, after: int) -> AsyncIterator[Plan]:
        """The plan where its generation is not `after`, then each newer one, and the present one as a sign of life."""
        generations = watch_states(
            lambda: self.generation(runtime),
            changed=self._changed,
            key=PLANS,
            until=lambda _: False,
            seen=lambda generation: generation == after,
            draining=self._draining,
        )
        async for _ in generations:
            yield await self.current(runtime)


async def plan_in(tx: Transaction, runtime: str) -> Plan:
    """The plan of a runtime as `tx` sees it."""
    generation = await deployments.plan_generation(tx, runtime)
    return Plan(generation, await planned(tx, await deployments.planned(tx, runtime)))


async def planned(tx: Transaction, uids: Collection[str]) -> tuple[PlannedModel, ...]:
    """The models of some variants by uid, as far as these are there."""
    found = await variants.by_uid(tx, uids)
    versions = await models.by_uid(tx, {variant.version_uid for variant in found.values()})
    return tuple(PlannedModel(versions[found[uid].version_uid], found[uid]) for uid in sorted(found))
