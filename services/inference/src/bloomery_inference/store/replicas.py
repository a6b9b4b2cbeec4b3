"""Replicas, each with what it last said."""

from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from bloomery_inference.serving.model import LoadedModel, LoadState, Replica
from bloomery_inference.store.tables import SERVING_REPLICAS
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.database_clock import Now

_R = SERVING_REPLICAS.c
_FORMER = 20
"""Replaced incarnations that are remembered."""


async def lock(tx: Transaction, replica: Replica) -> tuple[Replica, tuple[str, ...]]:
    """What a replica last said, and its former incarnations; nobody else changes it before `tx` ends.

    One that is not known says nothing yet, with a sequence of 0.
    """
    row = _row(replica) | {"models": [], "observed": 0, "sequence": 0, "former": [], "reported": 0.0}
    await insert_ignore(tx, SERVING_REPLICAS, {"runtime": replica.runtime, "id": replica.id} | row)
    query = sa.select(SERVING_REPLICAS).where(*_key(replica)).with_for_update()
    found = (await tx.execute(query)).one()
    return _replica_of(found), tuple(found.former)


async def put(tx: Transaction, replica: Replica, former: tuple[str, ...]) -> None:
    """Take down what a locked replica says."""
    values = _row(replica) | {"former": list(former[-_FORMER:]), "reported": Now()}
    await tx.execute(sa.update(SERVING_REPLICAS).where(*_key(replica)).values(values))


async def beat(tx: Transaction, replica: Replica) -> None:
    """Note that a replica has said something."""
    await tx.execute(sa.update(SERVING_REPLICAS).where(*_key(replica)).values(reported=Now()))


async def of_runtime(tx: Transaction, runtime: str, silence: float) -> list[Replica]:
    """The replicas of a runtime by id; those that said nothing for `silence` seconds are not live."""
    live = sa.func.abs(Now() - _R.reported) <= silence
    query = sa.select(SERVING_REPLICAS, live.label("live")).where(_R.runtime == runtime).order_by(_R.id)
    return [_replica_of(row, bool(row.live)) for row in await tx.execute(query)]


async def lock_all(tx: Transaction, runtime: str) -> None:
    """Let no replica of a runtime report before `tx` ends: to be done before deployments are changed, as reports do."""
    await tx.execute(sa.select(_R.id).where(_R.runtime == runtime).order_by(_R.id).with_for_update())


async def withdraw(tx: Transaction, runtime: str, uids: Collection[str]) -> None:
    """Take models that have left the plan for leaving on every replica, which are locked.

    So that nobody takes a report from before for the answer to a plan in which they are again.
    """
    query = sa.select(SERVING_REPLICAS).where(_R.runtime == runtime)
    for row in (await tx.execute(query)).all():
        replica = _replica_of(row)
        left = leaving(replica, uids)
        if left != replica:
            values = {"models": [asdict(model) for model in left.models]}
            await tx.execute(sa.update(SERVING_REPLICAS).where(*_key(replica)).values(values))


def leaving(replica: Replica, uids: Collection[str]) -> Replica:
    """A replica of which some models, READY until now, are leaving."""
    models = (
        replace(model, state=LoadState.UNLOADING) if model.uid in uids and model.state is LoadState.READY else model
        for model in replica.models
    )
    return replace(replica, models=tuple(models))


async def forget(tx: Transaction, silence: float) -> None:
    """Forget the replicas that said nothing for `silence` seconds."""
    await tx.execute(sa.delete(SERVING_REPLICAS).where(sa.func.abs(Now() - _R.reported) > silence))


def _key(replica: Replica) -> tuple[sa.ColumnElement[bool], ...]:
    return _R.runtime == replica.runtime, _R.id == replica.id


def _row(replica: Replica) -> dict[str, Any]:
    return {
        "incarnation": replica.incarnation,
        "endpoint": replica.endpoint,
        "observed": replica.observed,
        "sequence": replica.sequence,
        "models": [asdict(model) for model in replica.models],
    }


def _replica_of(row: sa.Row[Any], live: bool = True) -> Replica:
    models = (LoadedModel(**model | {"state": LoadState(model["state"])}) for model in row.models)
    return Replica(row.id, row.incarnation, row.runtime, row.endpoint, row.observed, tuple(models), row.sequence, live)
