"""How a deployment gets to what is wanted: a pure decision about what is to be done, and the loop that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from bloomery_inference.names import Selector
from bloomery_inference.serving import measured
from bloomery_inference.serving.model import Deployment, LoadState, Replica
from bloomery_inference.serving.plans import PLANS
from bloomery_inference.serving.replicas import DEPLOYMENTS
from bloomery_inference.store import aliases, deployments, models, replicas, variants
from bloomery_inference.store.aliases import Change
from bloomery_kit.database import Database, Transaction
from bloomery_kit.database_clock import read_clock
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import guarded
from bloomery_kit.times import Clock, utc_now

LOOP = "inference rollouts"
_ALL = 100
_IDLE_SECONDS = 30.0
"""Between two looks while nothing is under way, for what another process has left undone."""


class Step(Enum):
    """What is to be done about a deployment."""

    NOTHING = auto()
    FAIL = auto()
    """What is wanted cannot be loaded."""
    REACH = auto()
    """All that is wanted is loaded."""
    PROMOTE = auto()
    """The candidate becomes the serving one."""


def decide(deployment: Deployment, known: Sequence[Replica]) -> tuple[Step, str]:
    """What is to be done about a deployment with the replicas of its runtime, and why it fails where it does.

    A candidate must be READY on every live replica. Of what is to serve, those count that can load it.
    """
    if deployment.paused:
        return Step.REACH, ""
    live, uid = [one for one in known if one.live], deployment.wanted
    ready = [one for one in live if one.has(uid, LoadState.READY)]
    failed = [one for one in live if one.has(uid, LoadState.FAILED)]
    if failed and (deployment.candidate or not ready):
        return Step.FAIL, failure_of(failed, uid)
    if not ready or len(ready) + len(failed) < len(live):
        return Step.NOTHING, ""
    return (Step.PROMOTE if _takes_all(deployment) else Step.REACH), ""


def failure_of(failed: Sequence[Replica], uid: str) -> str:
    """Why a model could not be loaded, in the words of the first replica."""
    model = failed[0].model(uid)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"replica {failed[0].id}: {model.reason if model else ''}{more}"


def _takes_all(deployment: Deployment) -> bool:
    is_whole = deployment.traffic == _ALL and not deployment.shadow
    return bool(deployment.candidate) and (is_whole or not deployment.serving)


@dataclass(frozen=True)
class Facts:
    """What one transaction sees: the replicas of the deployment's runtime, and the database's clock in seconds."""

    known: Sequence[Replica]
    now: float


class Rollouts:
    """Moves deployments on; any number of replicas may do it at once, as each step looks again under the model's lock.

    A replica that said nothing for `silence` seconds is not waited for, and what has served before stays loaded for
    `drain` seconds more. While something is under way there is a look after `interval` seconds at the latest.
    """

    def __init__(
        self,
        db: Database,
        *,
        changed: Notifier,
        silence: float,
        drain: float,
        interval: float,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._changed = changed
        self._news = changed.listen(DEPLOYMENTS)
        self._interval = interval
        self._is_busy = False
        self._silence = silence
        self._drain = drain
        self._clock = clock

    async def move(self) -> None:
        """Move every deployment as far as it can be moved."""
        for deployment in await self._waiting():
            with guarded(LOOP, deployment=deployment.uid):
                async with self._db.write() as tx:
                    await lock(tx, deployment)
                    await self.advance(tx, deployment.uid)
                self._changed.notify(DEPLOYMENTS)
                self._changed.notify(PLANS)

    async def pause(self) -> None:
        """Wait for news, or until the next look is due: whoever takes down what is new tells its own process of it."""
        await self._news.wait(self._interval if self._is_busy else max(self._interval, _IDLE_SECONDS))

    async def advance(self, tx: Transaction, uid: str) -> None:
        """Move a deployment, whose model is locked, as far as it can be moved; one that is gone is left alone."""
        deployment = await deployments.by_uid(tx, uid)
        if deployment is None:
            return
        facts = await self._facts(tx, deployment.runtime)
        values = self._values(deployment, facts)
        if not values:
            return
        if "serving" in values and deployment.alias:
            await self._move_alias(tx, deployment)
        await change(tx, deployment, values)

    async def known(self, tx: Transaction, runtime: str) -> list[Replica]:
        """The replicas of a runtime."""
        return await replicas.of_runtime(tx, runtime, self._silence)

    async def _facts(self, tx: Transaction, runtime: str) -> Facts:
        return Facts(await self.known(tx, runtime), await read_clock(tx))

    async def _waiting(self) -> list[Deployment]:
        """Those for which there is something to do, as far as a look without locks can tell."""
        async with self._db.read() as tx:
            found = await deployments.all_unpaused(tx)
            facts = {runtime: await self._facts(tx, runtime) for runtime in {one.runtime for one in found}}
        self._is_busy = any(one.drained is not None or one.observed != one.generation or one.failure for one in found)
        measured.tell(found, {runtime: seen.known for runtime, seen in facts.items()})
        return [one for one in found if self._values(one, facts[one.runtime])]

    def _values(self, deployment: Deployment, facts: Facts) -> dict[str, object]:
        """The columns that change with the next step."""
        step, why = decide(deployment, facts.known)
        wanted: dict[str, object] = {}
        if deployment.drained is not None and not facts.now < deployment.drained <= facts.now + 2 * self._drain:
            # Also where the clock was set back: what is due so late was never waited for so long.
            wanted["drained"] = None
        if step is Step.FAIL:
            wanted["failure"] = why
        if step in (Step.REACH, Step.PROMOTE):
            wanted |= {"failure": "", "observed": deployment.generation}
        if step is Step.PROMOTE:
            wanted |= self._promoted(deployment, facts.now)
        return {column: value for column, value in wanted.items() if getattr(deployment, column) != value}

    def _promoted(self, deployment: Deployment, now: float) -> dict[str, object]:
        taken = {"serving": deployment.candidate, "candidate": "", "traffic": _ALL, "shadow": False}
        if not deployment.serving:
            return taken
        before = {"previous": deployment.serving, "drained": now + self._drain}
        return taken | before | {"revision": deployment.revision + 1}

    async def _move_alias(self, tx: Transaction, deployment: Deployment) -> None:
        """Let the alias of a deployment, whose model is locked, name what begins to serve."""
        variant = (await variants.by_uid(tx, [deployment.candidate]))[deployment.candidate]
        now = await aliases.get(tx, deployment.project, deployment.model, deployment.alias)
        if now is not None and now.number == variant.number:
            return
        version = await models.get_version(tx, Selector(deployment.project, deployment.model, variant.version_uid))
        assert version is not None
        why = Change(deployment.updater, f"deployment {deployment.id}", self._clock())
        await aliases.put(tx, deployment.model_uid, deployment.alias, version, why)


async def change(tx: Transaction, deployment: Deployment, values: dict[str, object]) -> None:
    """Change a deployment, which `lock` has locked, by column, and with it the plan of its runtime."""
    await deployments.change(tx, deployment, values)
    after = await deployments.by_uid(tx, deployment.uid)
    if after is None or after.planned != deployment.planned:
        await change_plan(tx, deployment)


async def change_plan(tx: Transaction, before: Deployment) -> None:
    """Begin another plan after a deployment, which `lock` has locked, was changed from what it was `before`."""
    await deployments.change_plan(tx, before.runtime)
    await replicas.withdraw(tx, before.runtime, before.planned - await deployments.planned(tx, before.runtime))


async def lock(tx: Transaction, deployment: Deployment) -> None:
    """Let nobody else change a deployment, its model's aliases or what replicas say before `tx` ends."""
    await models.lock_model(tx, deployment.project, deployment.model)
    await replicas.lock_all(tx, deployment.runtime)
