"""Thousands of jobs that wait cost a pass little, and nobody else anything; on both databases where that differs."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bloomery.training.v1 import JOB_STATE_PENDING, DeleteJobRequest, JobEvent
from bloomery_kit.database import Transaction
from bloomery_trainer.admission import obstacles
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.feed import BUFFERED
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import Job, Resources, Waiting
from bloomery_trainer.store import attempts, damage
from bloomery_trainer.store import jobs as jobs_store
from bloomery_trainer.store.tables import jobs
from tests import databases
from tests.trainer.bench import World
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import Hand, by_hand
from tests.trainer.moves import cancel, state

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MACHINE = Resources(1, 1 << 40, 0)


@pytest.fixture(params=databases.BOTH)
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    return {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("migrated_postgres_url")}


@pytest.fixture
async def hand(world: World, database: dict[str, str]) -> AsyncIterator[Hand]:
    async with by_hand(world, launcher=FakeLauncher(MACHINE), max_pending_per_project=10**6, **database) as hand:
        yield hand


async def multiply(hand: Hand, uid: str, count: int) -> None:
    """Write a job down so many times more, under other names."""
    numbers = sa.text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i FROM n"
    )
    copies = numbers.columns(sa.column("i", sa.Integer)).bindparams(count=count).cte()
    suffix = sa.cast(copies.c.i, sa.String)
    changed = {
        "uid": sa.literal("copy-").concat(suffix),
        "job_id": sa.literal("copy-").concat(suffix),
        "number": 1000 + copies.c.i,
    }
    columns = [changed.get(column.name, column).label(column.name) for column in jobs.c]
    rows = sa.select(*columns).select_from(jobs.join(copies, sa.true())).where(jobs.c.uid == uid)
    async with hand.core.db.write() as tx:
        await tx.execute(sa.insert(jobs).from_select([column.name for column in jobs.c], rows))


async def crowded(hand: Hand, count: int) -> None:
    """One job at work, and so many that wait for it and know that."""
    await hand.running()
    waiting = await hand.trainer.create(parameters={"script": "x" * 500})
    await hand.settle(1)
    await multiply(hand, waiting.uid, count)


async def test_a_job_whose_inputs_are_claimed_during_a_pass_does_not_start_on_a_full_machine(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hand.running()
    late = await hand.trainer.create()

    async def note(held: bool) -> None:
        async with hand.core.db.write() as tx:
            await tx.execute(sa.update(jobs).where(jobs.c.uid == late.uid).values(held=held))

    await note(held=False)
    load = hand.reconciler._load

    async def claimed_meanwhile(uids: list[str]) -> object:
        await note(held=True)
        return await load(uids)

    monkeypatch.setattr(hand.reconciler, "_load", claimed_meanwhile)
    await hand.reconcile(1)
    assert (await hand.trainer.get(late.name)).state == JOB_STATE_PENDING
    await hand.reconcile(1)
    assert (await hand.trainer.get(late.name)).reason.code == "QUOTA_WAIT"


async def test_a_pass_over_many_waiting_jobs_holds_nobody_up(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read some at a time, without what no decision needs, and weighed beside the event loop."""
    await crowded(hand, 4000)
    await hand.reconcile(1)
    reading, limits, threads, specs = jobs_store.waiting, list[int](), list[int](), list[object]()

    async def waiting(tx: Transaction, after: int, limit: int) -> list[Waiting | damage.Damaged]:
        limits.append(limit)
        return await reading(tx, after, limit)

    def weigh(*args: Any, **options: Any) -> object:
        threads.append(threading.get_ident())
        return obstacles(*args, **options)

    def parse(text: str) -> object:
        specs.append(text)
        return parsing(text)

    adapter = jobs.c.spec.type.adapter  # type: ignore[attr-defined]
    parsing = adapter.validate_json
    monkeypatch.setattr(jobs_store, "waiting", waiting)
    monkeypatch.setattr("bloomery_trainer.reconcile.obstacles", weigh)
    monkeypatch.setattr(adapter, "validate_json", parse)
    await hand.reconcile(1)
    assert (len(limits) >= 8, max(limits) <= 500) == (True, True)
    assert threads
    assert threading.get_ident() not in threads
    assert len(specs) == 1, "only that of the job at work is read"


async def test_a_pass_over_many_jobs_at_work_holds_nobody_up(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read some at a time, and whoever waits has a turn between."""
    job, _ = await hand.running()
    await multiply(hand, job.uid, 1000)
    reading, turns, read = damage.read, 0, Counter[int]()

    def count(*given: Any) -> Any:
        read[turns] += 1
        return reading(*given)

    async def wait() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(damage, "read", count)
    waiting = asyncio.create_task(wait())
    await hand.reconciler._look()
    waiting.cancel()
    assert read.total() == 1001
    assert max(read.values()) <= 100


@pytest.mark.parametrize("asked", [{}, {"deadline_seconds": 1000}, {"resources": {"gpus": 1}}])
async def test_how_long_a_job_works_is_written_only_where_somebody_asks(world: World, asked: dict[str, Any]) -> None:
    async with by_hand(world) as hand:
        job, _ = await hand.running(**asked)
        await hand.after(20)
        await hand.reconcile(1)
        async with hand.core.db.read() as tx:
            attempt = await attempts.find(tx, job.uid, 1)
    assert attempt is not None
    assert (attempt.worked_seconds > 0) == bool(asked)


async def test_more_jobs_than_a_statement_can_name_are_no_wall(hand: Hand) -> None:
    await crowded(hand, 33_000)
    job = await hand.trainer.create(priority=1)
    await hand.reconcile(1)
    assert (await hand.trainer.get(job.name)).reason.code == "QUOTA_WAIT"


async def test_many_new_jobs_learn_why_they_wait_some_at_a_time(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_trainer.reconcile._AT_ONCE", 2)
    await hand.running()
    created = [await hand.trainer.create() for _ in range(5)]
    told = []
    for _ in range(3):
        await hand.reconcile(1)
        found = [(await hand.trainer.get(job.name)).reason.code for job in created]
        told.append(found.count("QUOTA_WAIT"))
    assert told == [2, 4, 5]


async def test_jobs_whose_inputs_cannot_be_claimed_starve_no_others(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_trainer.reconcile._AT_ONCE", 2)
    monkeypatch.setattr("bloomery_trainer.creation.Creation.claim_inputs", lambda *_: asyncio.sleep(0))
    created = [await hand.trainer.create() for _ in range(5)]
    stuck = {job.uid for job in created[:4]}
    holding = hand.core.neighbours.hold

    async def hold(version: str, holder: str, title: str) -> None:
        if holder.rpartition("/")[2] in stuck:
            raise ValueError("an odd answer")
        await holding(version, holder, title)

    monkeypatch.setattr(hand.core.neighbours, "hold", hold)
    await hand.reconcile(5)
    assert await state(hand, created[4]) in ("QUEUED", "PREPARING")


async def test_jobs_that_cannot_be_launched_starve_no_others(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_trainer.reconcile._AT_ONCE", 2)
    monkeypatch.setattr(hand.launcher, "capacity", lambda: None)
    created = [await hand.trainer.create() for _ in range(5)]
    stuck = {job.uid for job in created[:4]}

    async def launch(hands: Hands, job: Job) -> None:
        if job.uid in stuck:
            raise ValueError("an odd answer")
        await carry_out(hands, job)

    carry_out = Hands._launch
    monkeypatch.setattr(Hands, "_launch", launch)
    hand.core.moved.clear()
    await hand.reconcile(1)
    assert not hand.core.moved.is_set(), "a pass in which nothing succeeds is followed by another at once"
    await hand.reconcile(3)
    assert await state(hand, created[4]) in ("QUEUED", "PREPARING")


async def test_a_job_of_which_something_old_is_still_there_waits_as_all_do(hand: Hand) -> None:
    await hand.running()
    waiting = await hand.trainer.create()
    hand.launcher.things[waiting.uid, 7] = Launched(waiting.uid, 7, Phase.RUNNING)
    await hand.reconcile(2)
    assert await state(hand, waiting) == "PENDING"
    assert (await hand.trainer.get(waiting.name)).reason.code == "QUOTA_WAIT"
    assert hand.launcher.stops == [(waiting.uid, 7, hand.core.settings.policy.stop_grace)]


async def test_a_deleted_job_is_found_among_the_others(hand: Hand) -> None:
    job, other = await hand.trainer.create(), await hand.trainer.create()
    for each in (job, other):
        await cancel(hand, each)
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.bury()
    async with hand.core.db.read() as tx:
        assert [await jobs_store.find(tx, each.uid) is None for each in (job, other)] == [True, False]


def contender(number: int, project: int, priority: int = 0) -> Waiting:
    return Waiting(
        str(number), number, f"projects/p{project}", priority, 0, True, 0.0, NOW, 0.0, None, Resources(1, 1, 0)
    )


@given(
    crowd=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 1)), max_size=12),
    busy=st.lists(st.integers(0, 3), max_size=6),
    room=st.integers(1, 12),
)
def test_whoever_starts_had_the_first_turn(crowd: list[tuple[int, int]], busy: list[int], room: int) -> None:
    """Of the larger priority first, then of the project with the least at work, then the oldest."""
    waiting = [contender(number, *each) for number, each in enumerate(crowd)]
    running = [contender(100 + number, project) for number, project in enumerate(busy)]
    counts, left, expected = Counter(job.project for job in running), list(waiting), set()
    for _ in range(max(0, room - len(running))):
        if left:
            first = min(left, key=lambda job: (-job.priority, counts[job.project], job.number))
            left.remove(first)
            counts[first.project] += 1
            expected.add(first.uid)
    held_up = obstacles(waiting, running, Resources(room, 1 << 40, 0))
    assert {job.uid for job in waiting if job.uid not in held_up} == expected


class Looked:
    """A job that counts how often its turn is looked at."""

    resources = Resources(1, 1, 0)
    priority = 0
    looks = 0

    def __init__(self, number: int, project: int) -> None:
        self.uid, self.number, self._project = str(number), number, f"projects/p{project}"

    @property
    def project(self) -> str:
        Looked.looks += 1
        return self._project


def test_turns_of_many_projects_are_taken_without_looking_at_all_again_and_again() -> None:
    Looked.looks = 0
    crowd = [Looked(index, index % 200) for index in range(2000)]
    found = obstacles(crowd, (), Resources(3, 1 << 30, 0))
    assert [job.uid for job in crowd if job.uid not in found] == ["0", "1", "2"]
    assert Looked.looks < 5 * len(crowd)


class Buffer(list[JobEvent]):
    """Counts the events that are looked at."""

    looked = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.looked += len(found) if isinstance(at, slice) else 1
        return found

    def __iter__(self) -> Iterator[JobEvent]:
        raise AssertionError("it is looked through")


async def test_many_watchers_of_a_busy_job_look_through_nothing(hand: Hand) -> None:
    feed = hand.core.feed
    with feed.follow("busy", 0):
        topic = feed._topics["busy"]
        topic.extend([JobEvent(sequence=number) for number in range(1, BUFFERED + 1)], BUFFERED)
        topic.buffer = buffer = Buffer(topic.buffer)
        found = [await feed.read("busy", BUFFERED - 4) for _ in range(10)]
    assert {tuple(event.sequence for event in each[:]) for each in found} == {tuple(range(BUFFERED - 3, BUFFERED + 1))}
    assert buffer.looked < 10 * 10
