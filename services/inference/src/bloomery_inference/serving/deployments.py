"""Deployments: what people ask of them, and how they are seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bloomery_inference.aliases import check_active, locked_version
from bloomery_inference.choosing import chosen_variant
from bloomery_inference.model import ModelVersion, Variant
from bloomery_inference.names import DEPLOYMENT, Selector, parse_selector
from bloomery_inference.registry import page_of
from bloomery_inference.serving import holding, wishes
from bloomery_inference.serving.model import FORMATS, Deployment, Disagreement, PlannedModel, Replica, Sought
from bloomery_inference.serving.plans import PLANS, planned
from bloomery_inference.serving.replicas import DEPLOYMENTS
from bloomery_inference.serving.rollout import Rollouts, change, change_plan, lock
from bloomery_inference.serving.wishes import DeploymentChange, NewDeployment
from bloomery_inference.store import deployments, disagreements, models, variants
from bloomery_kit.context import current_principal
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import AlreadyExists, FieldViolation, InvalidArgument, NotFound
from bloomery_kit.etags import check_etag, etag_of
from bloomery_kit.feeds import Notifier
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.names import new_uid
from bloomery_kit.pages import PageRequest
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.inference.v1 import Deployment as DeploymentMessage

_BY_NUMBER = "name the version by its number, or update `deployments/{id}`"


@dataclass(frozen=True)
class View:
    """A deployment with its variants by uid, the replicas of its runtime, and the generation of their plan."""

    deployment: Deployment
    variants: Mapping[str, Variant]
    replicas: tuple[Replica, ...]
    plan: int


@dataclass(frozen=True)
class Served:
    """A deployment with its models by uid and the replicas of its runtime, as predictions need them."""

    deployment: Deployment
    models: Mapping[str, PlannedModel]
    replicas: tuple[Replica, ...]


def etag_in(deployment: Deployment) -> str:
    """The etag of what is wanted."""
    return etag_of(deployment.uid, deployment.revision)


class Deployments:
    """Deployments in the database; whoever changes one holds the lock of its model. `changed` is told of it."""

    def __init__(self, db: Database, rollouts: Rollouts, *, changed: Notifier, clock: Clock = utc_now) -> None:
        self._db = db
        self._rollouts = rollouts
        self._changed = changed
        self._clock = clock

    async def create(
        self,
        wish: NewDeployment,
        repeatable: Repeatable[DeploymentMessage],
        answer: Callable[[View], DeploymentMessage],
    ) -> DeploymentMessage:
        """Create a deployment, and `answer` with it.

        Raise NotFound, AlreadyExists, FailedPrecondition NO_VARIANT, VERSION_INACTIVE or ALIAS_DEPLOYED.
        """
        answered = await repeatable.first_answer(self._db)
        if answered is not None:
            return answered
        async with self._db.write() as tx:

            async def make() -> DeploymentMessage:
                return answer(await self._create(tx, wish))

            answered = await repeatable.once(tx, make)
        self._notify()
        return answered

    async def get(self, name: str, *, uid: str = "") -> View:
        """A deployment as it is now. Raise NotFound, also where it is not that of a `uid` any more."""
        async with self._db.read() as tx:
            found = await deployment_in(tx, name)
            if uid not in ("", found.uid):
                raise NotFound("deployment", name, hint="it was deleted, and another one has its id")
            return await self._view(tx, found)

    async def served(self, name: str) -> Served:
        """Who answers for a deployment. Raise NotFound."""
        async with self._db.read() as tx:
            found = await deployment_in(tx, name, "deployment")
            models_of = await planned(tx, {found.serving, found.candidate} - {""})
            known = await self._rollouts.known(tx, found.runtime)
        return Served(found, {one.variant.uid: one for one in models_of}, tuple(known))

    async def page(self, page: PageRequest, *, project: str | None, which: Sought) -> tuple[list[View], str]:
        """One page of the deployments that are sought by project and id, and the next page's token."""
        after = (str(page.cursor[0]), str(page.cursor[1])) if page.cursor else None
        async with self._db.read() as tx:
            found = await deployments.page(tx, project=project, which=which, after=after, limit=page.size + 1)
            shown, token = page_of(found, page, lambda one: (one.project, one.id))
            return [await self._view(tx, one) for one in shown], token

    async def update(self, wanted: DeploymentChange) -> View:
        """Change what is wanted. Raise NotFound, InvalidArgument, EtagMismatch or FailedPrecondition."""
        async with self._locked(wanted.name, wanted.etag) as (tx, deployment):
            return await self._apply(tx, deployment, await self._wanted(tx, deployment, wanted))

    async def pause(self, name: str, *, paused: bool) -> View:
        """Let a deployment rest, or answer again. Raise NotFound."""
        async with self._locked(name) as (tx, deployment):
            return await self._apply(tx, deployment, {"paused": paused})

    async def roll_back(
        self,
        name: str,
        etag: str,
        repeatable: Repeatable[DeploymentMessage],
        answer: Callable[[View], DeploymentMessage],
    ) -> DeploymentMessage:
        """Undo the last change of version. Raise NotFound, EtagMismatch or FailedPrecondition."""
        answered = await repeatable.first_answer(self._db)
        if answered is not None:
            return answered
        async with self._locked(name) as (tx, deployment):

            async def make() -> DeploymentMessage:
                check_etag(etag, etag_in(deployment), name)
                serving = await _version_of(tx, deployment, deployment.serving)
                previous = await _version_of(tx, deployment, deployment.previous)
                return answer(await self._apply(tx, deployment, wishes.rolled_back(deployment, serving, previous)))

            return await repeatable.once(tx, make)

    async def delete(self, name: str, etag: str) -> None:
        """Forget a deployment. Raise NotFound or EtagMismatch."""
        async with self._locked(name, etag) as (tx, deployment):
            await deployments.delete(tx, deployment)
            await change_plan(tx, deployment)

    async def disagreements(self, page: PageRequest, name: str) -> tuple[View, list[Disagreement], str]:
        """A deployment, one page of what its versions disagreed about, and the next page's token. Raise NotFound."""
        before = int(str(page.cursor[0])) if page.cursor else None
        async with self._db.read() as tx:
            deployment = await deployment_in(tx, name, "parent")
            found = await disagreements.page(tx, deployment.uid, before=before, limit=page.size + 1)
            view = await self._view(tx, deployment)
        return view, *page_of(found, page, lambda one: (one.ordinal,))

    @asynccontextmanager
    async def _locked(self, name: str, etag: str = "") -> AsyncIterator[tuple[Transaction, Deployment]]:
        """A deployment that stays as it is, but for what the block does. Raise NotFound or EtagMismatch."""
        async with self._db.read() as tx:
            found = await deployment_in(tx, name)
        async with self._db.write() as tx:
            await lock(tx, found)
            deployment = await deployments.by_uid(tx, found.uid)
            if deployment is None:
                raise NotFound("deployment", name, hint="it was deleted a moment ago")
            check_etag(etag, etag_in(deployment), name)
            yield tx, deployment
        self._notify()

    def _notify(self) -> None:
        self._changed.notify(DEPLOYMENTS)
        self._changed.notify(PLANS)

    async def _create(self, tx: Transaction, wish: NewDeployment) -> View:
        model_uid, version = await locked_version(tx, wish.target, "deployment.model_version")
        check_active(version)
        variant = chosen_variant(version, wish.variant, FORMATS[wish.runtime])
        alias = parse_selector(wish.target).alias
        if alias:
            await holding.check_unfollowed(tx, model_uid, alias, _BY_NUMBER)
        now = self._clock()
        deployment = Deployment(
            uid=new_uid(),
            project=wish.project,
            id=wish.id,
            model_uid=model_uid,
            model=version.model,
            runtime=wish.runtime,
            alias=alias,
            target=wish.target,
            variant=wish.variant,
            labels=wish.labels,
            candidate=variant.uid,
            updater=current_principal().subject,
            create_time=now,
            update_time=now,
        )
        if not await deployments.create(tx, deployment):
            raise AlreadyExists("deployment", holding.name_of(deployment))
        await deployments.change_plan(tx, wish.runtime)
        return await self._view(tx, deployment)

    async def _wanted(self, tx: Transaction, deployment: Deployment, wanted: DeploymentChange) -> dict[str, object]:
        """The columns that a change sets."""
        values: dict[str, object] = {}
        if wanted.labels is not None:
            values["labels"] = dict(wanted.labels)
        if wanted.variant is not None:
            values["variant"] = wanted.variant
        if wanted.target is not None:
            values["target"] = wanted.target
        if wanted.target is not None or wanted.variant is not None:
            version = await _target(tx, deployment, wanted.target)
            check_active(version)
            chosen = chosen_variant(
                version, str(values.get("variant", deployment.variant)), FORMATS[deployment.runtime]
            )
            return values | wishes.retargeted(deployment, wanted, chosen.uid)
        if wanted.traffic is not None or wanted.shadow is not None:
            return values | wishes.reshared(deployment, wanted)
        return values

    async def _apply(self, tx: Transaction, deployment: Deployment, wanted: Mapping[str, object]) -> View:
        values = {key: value for key, value in wanted.items() if getattr(deployment, key) != value}
        if values:
            moves = values.keys() & {"candidate", "traffic", "shadow", "paused"}
            if "comparison" in values:
                await deployments.forget_disagreements(tx, deployment.uid)
            values |= {
                "generation": deployment.generation + bool(moves),
                "revision": deployment.revision + 1,
                "updater": current_principal().subject,
                "update_time": self._clock(),
            }
            await change(tx, deployment, values)
            await self._rollouts.advance(tx, deployment.uid)
        after = await deployments.by_uid(tx, deployment.uid)
        assert after is not None
        return await self._view(tx, after)

    async def _view(self, tx: Transaction, deployment: Deployment) -> View:
        compared = deployment.comparison.serving, deployment.comparison.candidate
        uids = {deployment.serving, deployment.candidate, deployment.previous, *compared} - {""}
        return View(
            deployment,
            await variants.by_uid(tx, uids),
            tuple(await self._rollouts.known(tx, deployment.runtime)),
            await deployments.plan_generation(tx, deployment.runtime),
        )


async def deployment_in(tx: Transaction, name: str, field: str = "name") -> Deployment:
    """The deployment that `tx` finds under a name. Raise NotFound."""
    ids = DEPLOYMENT.parse(name, field)
    found = await deployments.get(tx, ids["project"], ids["deployment"])
    if found is None:
        raise NotFound("deployment", name, hint="list the deployments")
    return found


async def _target(tx: Transaction, deployment: Deployment, name: str | None) -> ModelVersion:
    """The version that is wanted, which is of the deployment's model. Raise NotFound, InvalidArgument."""
    if name is None:
        version = await _version_of(tx, deployment, deployment.wanted)
        assert version is not None
        return version
    selector = parse_selector(name, "deployment.model_version")
    if (selector.project, selector.model) != (deployment.project, deployment.model):
        text = f"must be a version of {deployment.model}, of which it is; make another deployment for another model"
        raise InvalidArgument([FieldViolation("deployment.model_version", text)])
    version = await models.get_version(tx, selector)
    if version is None:
        raise NotFound("model version", name, hint="list the versions of the model, and its aliases")
    return version


async def _version_of(tx: Transaction, deployment: Deployment, uid: str) -> ModelVersion | None:
    """The version of a variant of a deployment, None for the uid ""."""
    found = await variants.by_uid(tx, [uid] if uid else [])
    if uid not in found:
        return None
    return await models.get_version(tx, Selector(deployment.project, deployment.model, found[uid].version_uid))
