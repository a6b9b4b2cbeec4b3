"""What the leader tidies up beside the jobs at work, and what it tells the monitoring."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest

from bloomery.training.v1 import CancelJobRequest, DeleteJobRequest, GetLogsRequest
from bloomery_kit.database import Transaction
from bloomery_kit.errors import Unavailable
from bloomery_kit.metrics import REGISTRY
from bloomery_trainer import housekeeping
from bloomery_trainer.metrics import JOBS
from bloomery_trainer.store import events
from tests.trainer.bench import World, reason_of
from tests.trainer.hand import Hand, by_hand, log, metrics

DAY = timedelta(days=1)


@pytest.fixture
async def hand(world: World) -> AsyncIterator[Hand]:
    async with by_hand(world, event_retention=30 * 86400) as hand:
        yield hand


async def pass_after(hand: Hand, time: timedelta) -> None:
    """One pass of a leader whose system clock is so much later."""
    hand.clock.shift = time
    hand.follow_clock()
    await hand.settle(1)


async def test_old_logs_are_shortened_to_their_last_event(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.report(log("old"), metrics(1))
    await worker.finish(success=await worker.success(hand.core))
    hand.launcher.ends(0)
    await pass_after(hand, 29 * DAY)
    assert len((await hand.trainer.jobs.GetLogs(GetLogsRequest(name=job.name))).entries) == 2
    await pass_after(hand, 31 * DAY)
    done = await hand.trainer.get(job.name)
    assert done.oldest_sequence == done.last_sequence
    assert done.result.metrics["test/map50"] == 0.9
    assert [message.sequence for message in await hand.trainer.watch(job.name)] == [0, done.last_sequence]
    assert await reason_of(hand.trainer.watch(job.name, after=1)) == "EVENTS_TRUNCATED"


async def test_the_lease_can_be_renewed_between_two_logs_that_are_shortened(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await hand.trainer.jobs.CancelJob(CancelJobRequest(name=(await hand.trainer.create()).name))
    dropping, transactions = events.drop, list[Transaction]()

    async def drop(tx: Transaction, job_uid: str, *, through: int | None = None) -> None:
        transactions.append(tx)
        await dropping(tx, job_uid, through=through)

    monkeypatch.setattr(events, "drop", drop)
    await pass_after(hand, 31 * DAY)
    assert len(set(transactions)) == 3


@pytest.mark.parametrize("step", ["forget_requests", "jobs.deleted", "jobs.unheld", "inputs.unused_since"])
async def test_what_fails_each_time_keeps_nothing_else_from_being_done(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("DISK_FULL", "no room", None)

    job = await hand.trainer.create()
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    await hand.trainer.create()
    JOBS.clear()
    hand.clock.shift = 31 * DAY
    hand.follow_clock()
    with monkeypatch.context() as patched, suppress(Unavailable):
        patched.setattr(f"bloomery_trainer.housekeeping.{step}", fail)
        await hand.settle(1)
    done = await hand.trainer.get(job.name)
    assert done.oldest_sequence == done.last_sequence
    assert REGISTRY.get_sample_value("bloomery_training_jobs", {"state": "QUEUED"}) == 1


async def test_a_log_that_cannot_be_dropped_holds_up_no_other(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [await hand.trainer.create(job_id=name) for name in ("broken", "second", "third")]
    for job in made:
        await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    dropping = events.drop

    async def drop(tx: Transaction, job_uid: str, *, through: int | None = None) -> None:
        if job_uid == made[0].uid:
            raise Unavailable("PAGE_DAMAGED", "cannot be read", None)
        await dropping(tx, job_uid, through=through)

    monkeypatch.setattr(events, "drop", drop)
    monkeypatch.setattr(housekeeping, "_AT_ONCE", 2)
    await pass_after(hand, 31 * DAY)
    await pass_after(hand, 32 * DAY)
    found = [await hand.trainer.get(job.name) for job in made]
    assert [job.oldest_sequence == job.last_sequence for job in found] == [False, True, True]


async def test_running_jobs_keep_their_whole_log(hand: Hand) -> None:
    job, _ = await hand.running()
    await pass_after(hand, 31 * DAY)
    assert (await hand.trainer.get(job.name)).oldest_sequence == 1


async def test_old_request_ids_are_forgotten(hand: Hand) -> None:
    first = await hand.trainer.create(request_id="r")
    await pass_after(hand, 6 * DAY)
    assert (await hand.trainer.create(request_id="r")).uid == first.uid
    await pass_after(hand, 8 * DAY)
    assert (await hand.trainer.create(request_id="r")).uid != first.uid


async def test_inputs_of_a_deleted_job_are_given_back_before_the_answer(hand: Hand) -> None:
    job = await hand.trainer.create()
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    assert hand.trainer.world.datasets.holders
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    assert hand.trainer.world.datasets.holders == set()


async def test_inputs_of_deleted_jobs_are_given_back_when_their_owner_is_there_again(hand: Hand) -> None:
    job = await hand.trainer.create()
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    hand.trainer.world.datasets.down = True
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.settle(1)
    assert len(hand.trainer.world.datasets.holders) == 1
    hand.trainer.world.datasets.down = False
    await hand.settle(1)
    assert hand.trainer.world.datasets.holders == set()


async def test_monitoring_sees_the_jobs(hand: Hand) -> None:
    before = REGISTRY.get_sample_value("bloomery_training_reports_total", {"result": "new"}) or 0
    await hand.running()
    await hand.trainer.create()
    await hand.after(30)
    await pass_after(hand, DAY)
    assert REGISTRY.get_sample_value("bloomery_training_jobs", {"state": "RUNNING"}) == 1
    assert REGISTRY.get_sample_value("bloomery_reconciler_leader") == 1
    silence = REGISTRY.get_sample_value("bloomery_training_oldest_heartbeat_seconds")
    assert silence is not None
    assert silence >= 30
    assert REGISTRY.get_sample_value("bloomery_training_reports_total", {"result": "new"}) == before + 1


async def test_monitoring_sees_that_no_job_is_in_a_state_any_more(hand: Hand) -> None:
    job, _ = await hand.running()
    await pass_after(hand, DAY)
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    await pass_after(hand, 2 * DAY)
    assert REGISTRY.get_sample_value("bloomery_training_jobs", {"state": "RUNNING"}) == 0
