"""Clocks that jump by an hour, of the server and of a worker, change no order, no lease and no retry."""

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
from tests.trainer.bench import World
from tests.trainer.hand import POLICY, Hand, by_hand, metrics

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
