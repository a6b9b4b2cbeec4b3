"""Builds: who works on one, how far it is, and how it ends. Only the holder of the lease moves a build."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from bloomery_dataset.model import Build, Cleanup, Failure, Plan, Product, State, Version
from bloomery_dataset.store import datasets, versions
from bloomery_dataset.store.rows import cleanup_of, failure_json, plan_json, product_json, spec_json, version_of
from bloomery_dataset.store.tables import CLEANUPS, DATASETS, VERSIONS
from bloomery_kit.database import Transaction, compare_and_set

_BUILDING = VERSIONS.c.state == State.BUILDING


class LeaseLost(Exception):  # noqa: N818 - an outcome, not a fault
    """Somebody else builds this version now, or it is gone."""


async def claim(tx: Transaction, *, lease: str, until: datetime, now: datetime, horizon: datetime) -> Build | None:
    """Take over the oldest build that nobody works on; None where there is none.

    A lease beyond `horizon` was taken by a clock that has been set back since, so it does not count.
    """
    held_until = VERSIONS.c.lease_until
    free = sa.or_(held_until.is_(None), held_until <= now, held_until > horizon)
    query = versions.SELECT.where(VERSIONS.c.state == State.BUILDING, free).order_by(VERSIONS.c.ordinal)
    for row in await tx.execute(query):
        mine = {"lease": lease, "lease_until": until, "attempts": row.attempts + 1}
        same = VERSIONS.c.lease.is_(None) if row.lease is None else VERSIONS.c.lease == row.lease
        if await compare_and_set(tx, VERSIONS, VERSIONS.c.uid == row.uid, _BUILDING, free, same, values=mine):
            return Build(version_of(row), lease, row.attempts + 1)
    return None


async def renew(tx: Transaction, build: Build, *, until: datetime, done_count: int, now: datetime) -> None:
    """Keep the lease and say how far the build is. Raises LeaseLost."""
    await _move(tx, build, {"lease_until": until, "done_count": done_count}, now)


async def release(tx: Transaction, build: Build, *, until: datetime) -> None:
    """Give the build back unfinished, for anybody to take after `until`, as if it had not been tried."""
    values = {"lease": None, "lease_until": until, "attempts": VERSIONS.c.attempts - 1}
    await compare_and_set(tx, VERSIONS, *_held(build), values=values)


async def release_all(tx: Transaction) -> None:
    """Free all builds of a process that is gone."""
    await tx.execute(sa.update(VERSIONS).where(_BUILDING).values(lease=None, lease_until=None))


async def plan(tx: Transaction, build: Build, plan: Plan, *, item_count: int, now: datetime) -> Plan:
    """Fix what the build reads; the first plan counts. Raises LeaseLost."""
    stored = (await versions.by_uid(tx, build.version.uid)).plan
    if stored is None:
        await _move(tx, build, {"plan": plan_json(plan), "item_count": item_count}, now)
    return stored or plan


async def fail(tx: Transaction, build: Build, failure: Failure, now: datetime) -> None:
    """End the build without a version. Raises LeaseLost."""
    values = {"state": State.FAILED, "failure": failure_json(failure), "lease": None, "lease_until": None}
    await _move(tx, build, values, now)
    await versions.leave_cleanup(tx, await versions.by_uid(tx, build.version.uid))


async def finish(tx: Transaction, build: Build, product: Product, now: datetime) -> Version:
    """End with an earlier version of the same spec and content, or under the next number. Raises LeaseLost."""
    version = build.version
    dataset = await datasets.lock(tx, version.project, version.dataset)
    values: dict[str, object] = {"state": State.READY, "lease": None, "lease_until": None}
    earlier = await _same(tx, dataset.uid, version, product)
    if earlier:
        await _move(tx, build, values | {"same_as": earlier.uid}, now)
        await versions.leave_cleanup(tx, await versions.by_uid(tx, version.uid))
        return earlier
    count = product.statistics.image_count
    values |= {"product": product_json(product), "content_hash": product.content_hash}
    values |= {"done_count": count, "item_count": count, "number": await datasets.next_number(tx, dataset.uid)}
    await _move(tx, build, values, now)
    return await versions.by_uid(tx, version.uid)


async def cleanups(tx: Transaction, limit: int) -> list[Cleanup]:
    """What is left to clean up, oldest first."""
    query = sa.select(CLEANUPS).order_by(CLEANUPS.c.ordinal).limit(limit)
    return [cleanup_of(row) for row in await tx.execute(query)]


async def forget_cleanup(tx: Transaction, uid: str) -> None:
    """One is done."""
    await tx.execute(sa.delete(CLEANUPS).where(CLEANUPS.c.uid == uid))


async def _same(tx: Transaction, dataset_uid: str, version: Version, product: Product) -> Version | None:
    query = versions.SELECT.where(
        DATASETS.c.uid == dataset_uid,
        VERSIONS.c.content_hash == product.content_hash,
        VERSIONS.c.number.is_not(None),
    )
    for row in await tx.execute(query.order_by(VERSIONS.c.number)):
        if row.spec == spec_json(version.spec):
            return version_of(row)
    return None


def _held(build: Build) -> tuple[sa.ColumnElement[bool], ...]:
    return VERSIONS.c.uid == build.version.uid, _BUILDING, VERSIONS.c.lease == build.lease


async def _move(tx: Transaction, build: Build, values: Mapping[str, object], now: datetime) -> None:
    moved = {**values, "update_time": now, "sequence": VERSIONS.c.sequence + 1}
    if not await compare_and_set(tx, VERSIONS, *_held(build), values=moved):
        raise LeaseLost(build.version.name)
