"""Clocks that are wrong, or jump by an hour, of servers and of a worker, change no order, no lease and no limit."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bloomery.training.v1 import (
    JOB_STATE_PENDING,
    JOB_STATE_RUNNING,
    JOB_STATE_SUCCEEDED,
    AttemptFailure,
    JobEvent,
    Progress,
    Reason,
)
from bloomery_trainer.leadership import Leadership
from bloomery_trainer.model import Resources
from bloomery_trainer.reconcile import Reconciler
from tests.trainer.bench import World
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import POLICY, Hand, by_hand, metrics
from tests.trainer.moves import state

FLAKY = AttemptFailure(reason=Reason(code="STALLED", message="no step", retriable=True))
pytestmark = pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])


@pytest.fixture
async def hand(world: World) -> AsyncIterator[Hand]:
    async with by_hand(world) as hand:
        hand.follow_clock()
        yield hand


async def epochs(hand: Hand, name: str) -> list[int]:
    messages = await hand.trainer.watch(name)
    assert [message.sequence for message in messages[1:]] == list(range(1, len(messages)))
    return [message.event.metrics.epoch for message in messages if message.event.HasField("metrics")]


async def test_a_jump_of_the_servers_clock_moves_neither_leases_nor_retries(hand: Hand, hours: int) -> None:
    job, worker = await hand.running()
    await worker.report(metrics(1, epoch_end=True))
    leading, other = hand.leadership.lease, Leadership(hand.core)
    hand.clock.shift = timedelta(hours=hours)
    await hand.leadership.campaign()
    await other.campaign()
    assert (hand.leadership.lease, other.lease) == (leading, None)
    await worker.report(metrics(2, epoch_end=True))
    await hand.settle()
    assert (await hand.trainer.get(job.name)).state == JOB_STATE_RUNNING
    await worker.finish(failure=FLAKY)
    hand.launcher.ends(1)
    await hand.settle()
    assert (await hand.trainer.get(job.name)).state == JOB_STATE_PENDING

    hand.clock.shift = -hand.clock.shift
    await hand.after(POLICY.retry_delay - 1)
    assert len(hand.launcher.orders) == 1
    await hand.after(1)
    assert len(hand.launcher.orders) == 2
    second = await hand.worker("w2")
    await second.report(metrics(3, epoch_end=True))
    await second.finish(success=await second.success(hand.core))
    done = await hand.trainer.get(job.name)
    assert (done.state, done.attempt) == (JOB_STATE_SUCCEEDED, 2)
    assert await epochs(hand, job.name) == [1, 2, 3]


async def test_a_jump_of_a_workers_clock_changes_no_order_and_leaves_the_estimate_sane(hand: Hand, hours: int) -> None:
    job, worker = await hand.running()
    await worker.report(JobEvent(progress=Progress(phase="training", epochs=6)))
    for epoch in range(1, 7):
        jump = 3600.0 * hours if epoch == 4 else 0.0
        await worker.report(metrics(epoch, epoch_end=True, at=epoch * 10.0 + jump))
        seen = (await hand.trainer.get(job.name)).progress
        assert seen.epoch == epoch
        if epoch > 2:
            # Three epochs of ten seconds are left at most; one that seemed to take an hour does not count for it.
            assert seen.HasField("eta_seconds")
            assert 0 <= seen.eta_seconds <= 60
        await hand.settle(1)
    assert hand.launcher.stops == []
    await worker.finish(success=await worker.success(hand.core))
    assert (await hand.trainer.get(job.name)).state == JOB_STATE_SUCCEEDED
    assert await epochs(hand, job.name) == [1, 2, 3, 4, 5, 6]


async def test_a_deadline_is_counted_by_no_system_clock(hand: Hand, hours: int) -> None:
    """The leader's is ahead of, or behind, that of the replica which the worker called, and jumps later."""
    job = await hand.queued(deadline_seconds=300)
    await hand.worker()
    hand.clock.shift = timedelta(hours=hours)
    await hand.settle()
    assert await state(hand, job) == "PREPARING"
    await hand.after(150)
    hand.clock.shift = -hand.clock.shift
    await hand.after(140)
    assert await state(hand, job) == "PREPARING"
    await hand.after(11)
    await hand.settle()
    failed = await hand.trainer.get(job.name)
    assert (await state(hand, job), failed.reason.code) == ("FAILED", "DEADLINE")


async def test_a_queue_timeout_is_counted_by_no_system_clock(world: World, hours: int) -> None:
    policy = POLICY.model_copy(update={"queue_timeout": 300.0})
    async with by_hand(world, launcher=FakeLauncher(Resources(1, 1, 0)), policy=policy) as hand:
        hand.follow_clock()
        job = await hand.trainer.create()
        hand.clock.shift = timedelta(hours=hours)
        await hand.settle()
        await hand.after(150)
        hand.clock.shift = -hand.clock.shift
        await hand.after(140)
        assert await state(hand, job) == "PENDING"
        await hand.after(11)
        assert await state(hand, job) == "FAILED"


async def lead_elsewhere(hand: Hand, hours: int) -> None:
    """Another machine takes over at once, whose clocks say something else."""
    await hand.leadership.give_up()
    hand.leadership = Leadership(hand.core)
    await hand.leadership.campaign()
    hand.clock.shift += timedelta(hours=hours)
    started = hand.clock.seconds
    hand.reconciler = Reconciler(hand.core, clock=lambda: 7.0 + hand.clock.seconds - started)
    await hand.settle(1)


async def test_a_new_leader_goes_on_from_what_the_former_ones_counted(hand: Hand, hours: int) -> None:
    job = await hand.queued(deadline_seconds=300)
    await hand.worker()
    await hand.settle()
    for _ in range(3):
        await hand.after(60)
        await lead_elsewhere(hand, hours)
    await hand.after(110)
    assert await state(hand, job) == "PREPARING"
    await hand.after(13)
    await hand.settle()
    assert await state(hand, job) == "FAILED"


async def test_a_new_leader_goes_on_with_the_queue_timeout(world: World, hours: int) -> None:
    policy = POLICY.model_copy(update={"queue_timeout": 300.0})
    async with by_hand(world, launcher=FakeLauncher(Resources(1, 1, 0)), policy=policy) as hand:
        hand.follow_clock()
        job = await hand.trainer.create()
        await hand.settle()
        for _ in range(3):
            await hand.after(60)
            await lead_elsewhere(hand, hours)
        await hand.after(110)
        assert await state(hand, job) == "PENDING"
        await hand.after(20)
        assert await state(hand, job) == "FAILED"
