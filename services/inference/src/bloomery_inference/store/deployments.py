"""Deployments, and the plans that follow from them."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from bloomery_inference.names import DEPLOYMENT
from bloomery_inference.serving.model import Comparison, Deployment, Sought
from bloomery_inference.store.tables import DEPLOYMENTS, DISAGREEMENTS, MODELS
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.idempotency import forget_answers
from bloomery_kit.sequences import current, next_sequence
from bloomery_kit.visible import shown

_D = DEPLOYMENTS.c
_SELECT = sa.select(DEPLOYMENTS, MODELS.c.id.label("model")).select_from(DEPLOYMENTS.join(MODELS))
_ROLES = (_D.serving, _D.candidate, _D.previous)


async def get(tx: Transaction, project: str, deployment: str) -> Deployment | None:
    """A deployment by its ids."""
    row = (await tx.execute(_SELECT.where(_D.project == project, _D.id == deployment))).one_or_none()
    return _deployment_of(row) if row else None


async def by_uid(tx: Transaction, uid: str) -> Deployment | None:
    """A deployment by its uid."""
    row = (await tx.execute(_SELECT.where(_D.uid == uid))).one_or_none()
    return _deployment_of(row) if row else None


async def page(
    tx: Transaction, *, project: str | None, which: Sought, after: tuple[str, str] | None, limit: int
) -> list[Deployment]:
    """Those deployments in the order of project and id, past `after`."""
    query = _SELECT.where(*shown(_D.project, project)).order_by(_D.project, _D.id).limit(limit)
    if which.id:
        query = query.where(_D.id == which.id)
    if which.model is not None:
        query = query.where(MODELS.c.project == which.model[0], MODELS.c.id == which.model[1])
    if after is not None:
        query = query.where(sa.tuple_(_D.project, _D.id) > sa.tuple_(*map(sa.literal, after)))
    return [_deployment_of(row) for row in await tx.execute(query)]


async def of_model(tx: Transaction, model_uid: str) -> list[Deployment]:
    """The deployments of a model by id."""
    query = _SELECT.where(_D.model_uid == model_uid).order_by(_D.id)
    return [_deployment_of(row) for row in await tx.execute(query)]


async def of_runtime(tx: Transaction, runtime: str) -> list[Deployment]:
    """The deployments of a runtime by uid."""
    query = _SELECT.where(_D.runtime == runtime).order_by(_D.uid)
    return [_deployment_of(row) for row in await tx.execute(query)]


async def all_unpaused(tx: Transaction) -> list[Deployment]:
    """The deployments that are not paused, by uid."""
    return [_deployment_of(row) for row in await tx.execute(_SELECT.where(sa.not_(_D.paused)).order_by(_D.uid))]


async def of_variants(tx: Transaction, variants: Collection[str]) -> list[Deployment]:
    """The deployments that serve one of some variants, bring it in or would roll back to it, by id."""
    named = sa.or_(*(role.in_(variants) for role in _ROLES))
    return [_deployment_of(row) for row in await tx.execute(_SELECT.where(named).order_by(_D.id))]


async def create(tx: Transaction, deployment: Deployment) -> bool:
    """Record a deployment whose model is locked; False where the id is taken."""
    return await insert_ignore(tx, DEPLOYMENTS, _row(deployment))


async def change(tx: Transaction, deployment: Deployment, values: Mapping[str, object]) -> None:
    """Change a deployment whose model is locked, by field."""
    comparison = values.get("comparison")
    columns = {key: value for key, value in values.items() if key != "comparison"}
    if isinstance(comparison, Comparison):
        columns |= _comparison_row(comparison)
    changed = {**columns, "sequence": _D.sequence + 1}
    await tx.execute(sa.update(DEPLOYMENTS).where(_D.uid == deployment.uid).values(changed))


async def delete(tx: Transaction, deployment: Deployment) -> None:
    """Forget a deployment whose model is locked, and what was answered about it: its name may be given again."""
    await forget_disagreements(tx, deployment.uid)
    await tx.execute(sa.delete(DEPLOYMENTS).where(_D.uid == deployment.uid))
    await forget_answers(tx, DEPLOYMENT.format(project=deployment.project, deployment=deployment.id))


async def touch(tx: Transaction, runtime: str, variants: Collection[str]) -> None:
    """Let watchers see that something has changed about some variants of a runtime's deployments."""
    named = sa.or_(*(role.in_(variants) for role in _ROLES))
    query = sa.select(_D.uid).where(_D.runtime == runtime, named).order_by(_D.uid)
    # Two replicas that report at once take the rows in one order.
    uids: list[str] = list(await tx.scalars(query.with_for_update()))
    await tx.execute(sa.update(DEPLOYMENTS).where(_D.uid.in_(uids)).values(sequence=_D.sequence + 1))


async def planned(tx: Transaction, runtime: str) -> set[str]:
    """Uids of the variants that are in the plan of a runtime."""
    return {uid for one in await of_runtime(tx, runtime) for uid in one.planned}


async def plan_generation(tx: Transaction, runtime: str) -> int:
    """The generation of a runtime's plan as this transaction sees it."""
    return await current(tx, _plan(runtime))


async def change_plan(tx: Transaction, runtime: str) -> None:
    """Take the next generation for a plan that this transaction changes."""
    await next_sequence(tx, _plan(runtime))


async def forget_disagreements(tx: Transaction, uid: str) -> None:
    """Forget what the versions of a deployment disagreed about."""
    await tx.execute(sa.delete(DISAGREEMENTS).where(DISAGREEMENTS.c.deployment_uid == uid))


def _plan(runtime: str) -> str:
    return f"plan/{runtime}"


_COMPARISON = {
    "compared_serving": "serving",
    "compared_candidate": "candidate",
    "compared": "compared",
    "disagreed": "disagreed",
    "skipped": "skipped",
}
_FIELDS = [column.name for column in DEPLOYMENTS.columns if column.name not in _COMPARISON]


def _comparison_row(comparison: Comparison) -> dict[str, object]:
    """The columns of what was compared."""
    return {column: getattr(comparison, field) for column, field in _COMPARISON.items()}


def _row(deployment: Deployment) -> dict[str, Any]:
    return {name: getattr(deployment, name) for name in _FIELDS} | _comparison_row(deployment.comparison)


def _deployment_of(row: sa.Row[Any]) -> Deployment:
    values = {name: getattr(row, name) for name in _FIELDS}
    comparison = Comparison(**{field: getattr(row, column) for column, field in _COMPARISON.items()})
    return Deployment(**values, model=row.model, comparison=comparison)
