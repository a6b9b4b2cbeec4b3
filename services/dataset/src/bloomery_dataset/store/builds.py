"""Builds: who works on one, how far it is, and how it ends. Only the holder of the lease moves a build."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from bloomery_dataset.model import Build, Cleanup, Failure, Plan, Product, Spec, State, Version
from bloomery_dataset.store import datasets, versions
from bloomery_dataset.store.rows import cleanup_of, failure_json, plan_json, product_json, version_of
from bloomery_dataset.store.tables import CLEANUPS, DATASETS, VERSIONS
from bloomery_kit import leases
from bloomery_kit.database import Transaction, compare_and_set
from bloomery_kit.leases import LeaseLost

_BUILDING = VERSIONS.c.state == State.BUILDING


async def waiting(tx: Transaction, *, term: float) -> list[str]:
    """The uids of the builds that nobody works on, each for `term` seconds, oldest first."""
    taken = await leases.held(tx, versions.LEASE_PREFIX, term)
    uids: sa.ScalarResult[str] = await tx.scalars(
        sa.select(VERSIONS.c.uid).where(_BUILDING).order_by(VERSIONS.c.ordinal)
    )
    return [uid for uid in uids if versions.lease_name(uid) not in taken]


async def claim(tx: Transaction, uid: str, *, holder: str, term: float) -> Build | None:
    """Take a build over for `term` seconds; None where somebody else has it, it rests, or it has ended."""
    lease = await leases.take(tx, versions.lease_name(uid), holder, term)
    if lease is None:
        return None
    tried = sa.update(VERSIONS).where(VERSIONS.c.uid == uid, _BUILDING).values(attempts=VERSIONS.c.attempts + 1)
    attempts: int | None = await tx.scalar(tried.returning(VERSIONS.c.attempts))
    if attempts is None:
        await leases.forget(tx, lease.name)
        return None
    return Build(await versions.by_uid(tx, uid), lease, attempts)


async def report(tx: Transaction, build: Build, *, done_count: int, now: datetime) -> None:
    """Say how far the build is. Raises LeaseLost."""
    await _move(tx, build, {"done_count": done_count}, now)


async def release(tx: Transaction, build: Build, *, rest: float) -> None:
    """Give the build back unfinished, for anybody to take after `rest` seconds. Raises LeaseLost."""
    await leases.fence(tx, build.lease)
    await uncount(tx, build)
    await leases.give_up(tx, build.lease, rest=rest)


async def uncount(tx: Transaction, build: Build) -> None:
    """Take a try that did not crash off the count, whoever has the build by now.

    Where a commit was not heard of it may be taken off twice; then one crash more is allowed.
    """
    counted = (VERSIONS.c.uid == build.version.uid, _BUILDING, VERSIONS.c.attempts > 0)
    await compare_and_set(tx, VERSIONS, *counted, values={"attempts": VERSIONS.c.attempts - 1})


async def plan(tx: Transaction, build: Build, plan: Plan, *, item_count: int, now: datetime) -> Plan:
    """Fix what the build reads; the first plan counts. Raises LeaseLost."""
    stored = (await versions.by_uid(tx, build.version.uid)).plan
    if stored is None:
        await _move(tx, build, {"plan": plan_json(plan), "item_count": item_count}, now)
    return stored or plan


async def fail(tx: Transaction, build: Build, failure: Failure, now: datetime) -> None:
    """End the build without a version. Raises LeaseLost."""
    await _move(tx, build, {"state": State.FAILED, "failure": failure_json(failure)}, now)
    await versions.leave_cleanup(tx, await versions.by_uid(tx, build.version.uid))


async def finish(tx: Transaction, build: Build, product: Product, now: datetime) -> Version:
    """End with an earlier version that was made in the same way of the same content, or under the next number.

    Raises LeaseLost.
    """
    version = build.version
    dataset = await datasets.lock(tx, version.project, version.dataset)
    values: dict[str, object] = {"state": State.READY}
    earlier = await _same(tx, dataset.uid, version, product)
    if earlier:
        await _move(tx, build, values | {"same_as": earlier.uid}, now)
        await versions.leave_cleanup(tx, await versions.by_uid(tx, version.uid))
        return earlier
    count = product.statistics.image_count
    values |= {"product": product_json(product), "content_hash": product.content_hash}
    values |= {"done_count": count, "item_count": count, "number": await datasets.next_number(tx, dataset.uid)}
    await _move(tx, build, values, now)
    await leases.forget(tx, build.lease.name)
    return await versions.by_uid(tx, version.uid)


async def cleanups(tx: Transaction, *, now: datetime, after: int, limit: int) -> list[Cleanup]:
    """What is left to clean up behind a place in its order, oldest first."""
    due = sa.or_(CLEANUPS.c.last_time.is_(None), CLEANUPS.c.last_time <= now)
    query = sa.select(CLEANUPS).where(due, CLEANUPS.c.ordinal > after).order_by(CLEANUPS.c.ordinal).limit(limit)
    return [cleanup_of(row) for row in await tx.execute(query)]


async def clean_again(tx: Transaction, uid: str, last_time: datetime) -> None:
    """One is done, and is to be done once more."""
    await tx.execute(sa.update(CLEANUPS).where(CLEANUPS.c.uid == uid).values(last_time=last_time))


async def forget_cleanup(tx: Transaction, done: Cleanup) -> None:
    """One is done for good, unless it has been left again since it was read."""
    same = (CLEANUPS.c.uid == done.uid, CLEANUPS.c.last_time == done.last_time)
    if (await tx.execute(sa.delete(CLEANUPS).where(*same))).rowcount:
        await leases.forget(tx, versions.lease_name(done.uid))


async def _same(tx: Transaction, dataset_uid: str, version: Version, product: Product) -> Version | None:
    query = versions.SELECT.where(
        DATASETS.c.uid == dataset_uid,
        VERSIONS.c.content_hash == product.content_hash,
        VERSIONS.c.number.is_not(None),
    )
    for row in await tx.execute(query.order_by(VERSIONS.c.number)):
        # Not by the columns: those of older versions lack fields that have their default now.
        if _made(earlier := version_of(row)) == _made(version):
            return earlier
    return None


def _made(version: Version) -> Spec:
    """How a version was made. Where images without a split go is told by the content, which has each one's part."""
    return replace(version.spec, split=replace(version.spec.split, unassigned=""))


async def _move(tx: Transaction, build: Build, values: Mapping[str, object], now: datetime) -> None:
    await leases.fence(tx, build.lease)
    moved = {**values, "update_time": now, "sequence": VERSIONS.c.sequence + 1}
    if not await compare_and_set(tx, VERSIONS, VERSIONS.c.uid == build.version.uid, _BUILDING, values=moved):
        raise LeaseLost(build.version.name)
