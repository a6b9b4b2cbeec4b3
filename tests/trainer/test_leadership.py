"""One reconciler leads at a time, whoever is killed, stopped or late; on both databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from bloomery.training.v1 import JOB_STATE_CANCELLED, CancelJobRequest
from bloomery_kit import leases
from bloomery_kit.leases import Lease, LeaseLost
from bloomery_trainer import metrics
from bloomery_trainer.actions import Note
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.decide import Facts
from bloomery_trainer.launcher import Phase
from bloomery_trainer.leadership import Leadership
from bloomery_trainer.model import Reason
from bloomery_trainer.reconcile import Reconciler
from bloomery_trainer.store import jobs
from tests import databases
from tests.trainer.bench import Trainer, World, reason_of, running_trainer
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import POLICY, FakeWorker, Hand, by_hand, log
from tests.trainer.moves import state

pytestmark = pytest.mark.parametrize("database", databases.BOTH)


@pytest.fixture
def database_url(database: str, world: World, request: pytest.FixtureRequest) -> str:
    if database == "sqlite":
        return f"sqlite+aiosqlite:///{world.folder}/training.db"
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
async def hand(world: World, database_url: str) -> AsyncIterator[Hand]:
    async with by_hand(world, database_url=database_url) as hand:
        yield hand


async def test_the_second_replica_waits_until_the_lease_is_given_up(hand: Hand) -> None:
    other = Leadership(hand.core)
    await other.campaign()
    assert other.lease is None
    first = hand.leadership.lease
    await hand.leadership.give_up()
    await other.campaign()
    assert first is not None
    assert other.lease == Lease(first.name, first.epoch + 1)


async def test_who_lost_the_lease_takes_it_again_when_it_is_free(hand: Hand) -> None:
    other = Leadership(hand.core)
    await supersede(hand, other)
    await hand.leadership.campaign()
    assert hand.leadership.lease is None
    await other.give_up()
    await hand.leadership.campaign()
    assert hand.leadership.lease is not None


async def supersede(hand: Hand, other: Leadership) -> Lease:
    """Another replica leads, and the first does not know; the lease that it believes to hold."""
    former = hand.leadership.lease
    assert former is not None
    async with hand.core.db.write() as tx:
        await leases.give_up(tx, former)
    await other.campaign()
    assert other.lease is not None
    return former


async def test_writes_of_a_former_leader_are_refused(hand: Hand) -> None:
    job = await hand.trainer.create()
    async with hand.core.db.read() as tx:
        seen = await jobs.find(tx, job.uid)
    assert seen is not None
    former = await supersede(hand, Leadership(hand.core))
    with pytest.raises(LeaseLost, match="by now"):
        await Hands(hand.core, former).carry_out(Facts(seen, None, None), Note(Reason("X", "x")))
    before = metrics.FENCED._value.get()
    await hand.leadership.lead(hand.reconciler.run_pass)
    assert hand.leadership.lease is None
    assert metrics.FENCED._value.get() == before + 1
    assert hand.launcher.orders == []


async def test_a_decision_about_an_older_state_is_dropped(hand: Hand) -> None:
    job = await hand.trainer.create()
    async with hand.core.db.read() as tx:
        seen = await jobs.find(tx, job.uid)
    assert seen is not None
    assert hand.leadership.lease is not None
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    await Hands(hand.core, hand.leadership.lease).carry_out(Facts(seen, None, None), Note(Reason("X", "x")))
    after = await hand.trainer.get(job.name)
    assert (after.state, after.last_sequence) == (JOB_STATE_CANCELLED, 2)


async def test_a_leader_that_comes_back_counts_nothing_of_what_others_led(world: World, database_url: str) -> None:
    """A job that waits, works under another leader, and waits again, waits as long as it did both times."""
    policy = POLICY.model_copy(update={"queue_timeout": 100.0})
    async with by_hand(world, policy=policy, database_url=database_url) as hand:
        job, first, reconciler = await hand.queued(), hand.leadership, hand.reconciler
        await hand.after(30)
        await first.give_up()
        hand.leadership, hand.reconciler = Leadership(hand.core), Reconciler(hand.core, clock=hand.clock.monotonic)
        await hand.leadership.campaign()
        await hand.worker()
        await hand.after(90)
        hand.launcher.becomes(Phase.WAITING)
        await hand.settle()
        await hand.leadership.give_up()
        hand.leadership, hand.reconciler = first, reconciler
        await first.campaign()
        await hand.after(60)
        await hand.settle()
        assert await state(hand, job) == "QUEUED"


async def test_two_replicas_launch_each_attempt_once(world: World, database_url: str) -> None:
    launcher = FakeLauncher()
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(running_trainer(world, launcher=launcher, database_url=database_url))
            for _ in range(2)
        ]
        created = await asyncio.gather(*(replicas[number % 2].create() for number in range(8)))
        for _ in range(600):
            if len(launcher.orders) == len(created):
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        assert sorted(order.job.uid for order in launcher.orders) == sorted(job.uid for job in created)
        leading = [replica.app.leadership.lease is not None for replica in replicas]
        assert sorted(leading) == [False, True]


async def test_the_other_replica_takes_over(world: World, database_url: str) -> None:
    launcher = FakeLauncher()
    async with running_trainer(world, launcher=launcher, database_url=database_url) as second:
        async with running_trainer(world, launcher=launcher, database_url=database_url) as first:
            both = (first, second)
            leader = await _leader(both)
        job = await second.create()
        for _ in range(600):
            if launcher.orders:
                break
            await asyncio.sleep(0.05)
        assert leader is not None
        assert [order.job.uid for order in launcher.orders] == [job.uid]


async def _leader(replicas: tuple[Trainer, Trainer]) -> Trainer:
    for _ in range(1500):
        for replica in replicas:
            if replica.app.leadership.lease is not None:
                return replica
        await asyncio.sleep(0.02)
    raise AssertionError("nobody leads")


async def test_reports_of_many_workers_at_once_lose_nothing(hand: Hand) -> None:
    workers: list[tuple[str, FakeWorker]] = []
    for _ in range(5):
        job, worker = await hand.running()
        workers.append((job.name, worker))

    async def report(worker: FakeWorker) -> None:
        for number in range(10):
            # Each is said twice, at once.
            both = (worker.report(log(str(number)), first=number + 2) for _ in range(2))
            await asyncio.gather(*both)

    await asyncio.gather(*(report(worker) for _, worker in workers))
    for name, _ in workers:
        await hand.trainer.jobs.CancelJob(CancelJobRequest(name=name, force=True))
        await hand.settle(2)
        messages = await hand.trainer.watch(name)
        texts = [message.event.log.message for message in messages if message.event.HasField("log")]
        assert texts == ["begin", *map(str, range(10))]
        assert [message.sequence for message in messages[1:]] == list(range(1, len(messages)))


async def test_many_creations_with_one_request_id_make_one_job(hand: Hand) -> None:
    async def create() -> str:
        return (await hand.trainer.create(request_id="same")).uid

    uids = await asyncio.gather(*(create() for _ in range(5)))
    assert len(set(uids)) == 1
    assert await reason_of(hand.trainer.create(request_id="same", priority=1)) == "REQUEST_ID_REUSED"
