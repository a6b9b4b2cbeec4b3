"""What one job, stray, log or upload meets holds up no other, and no step of the housekeeping another."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.training.v1 import CancelJobRequest, DeleteJobRequest, recipe_pb2
from bloomery_kit.errors import Unavailable
from bloomery_trainer import housekeeping, reconcile
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.housekeeping import Housekeeping
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import Job, Resources
from bloomery_trainer.store import events, inputs, jobs
from bloomery_trainer.store.tables import attempts
from bloomery_trainer.store.tables import jobs as rows
from tests.passes import ForeignError, Work, each, fail_first, fail_step
from tests.trainer.bench import World
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import Hand, by_hand, log

WORKS = {
    reconcile.LOOP: [
        Work(Hands, "carry_out", lambda _, facts, _action: facts.job.uid),
        Work(Hands, "clear_away", lambda _, stray: stray.job_uid),
    ],
    housekeeping.LOOP: [
        Work(Housekeeping, "_bury", lambda _, _lease, job: job.uid),
        Work(housekeeping, "hold_project", lambda _core, job: job.uid),
        Work(events, "drop", lambda _tx, uid, **_: uid),
        Work(inputs, "drop", lambda _tx, unused: unused.digest),
    ],
}
STEPS: list[tuple[Any, str]] = [
    (housekeeping, "forget_requests"),
    (jobs, "finished_before"),
    (inputs, "unused_since"),
    (jobs, "unheld"),
    (jobs, "count_by_state"),
    (jobs, "deleted"),
]


async def later(hand: Hand, passes: int = 2) -> None:
    """Passes, minutes apart, after all that is kept for a time is old."""
    hand.clock.shift += timedelta(days=99)
    hand.follow_clock()
    for _ in range(passes):
        hand.clock.shift += timedelta(minutes=2)
        with suppress(ForeignError):
            await hand.run_pass()


@each(WORKS)
async def test_one_items_trouble_holds_up_no_other(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, loop: str, work: Work
) -> None:
    made = [await hand.trainer.create() for _ in range(2)]
    hand.launcher.things |= {(uid, 1): Launched(uid, 1, Phase.ENDED) for uid in ("stray-1", "stray-2")}
    if loop == housekeeping.LOOP:
        for job in made:
            await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
            if work.name == "_bury":
                await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
        async with hand.core.db.write() as tx:
            await tx.execute(sa.update(rows).values(project_held=False))
            for number in range(2):
                await inputs.keep(tx, "p" * 32, f"sha256:{number:064}", hand.core.clock())
    done = fail_first(monkeypatch, work)
    await later(hand)
    assert len(done) == 1


@pytest.mark.parametrize("step", [name for _, name in STEPS])
async def test_a_step_of_the_housekeeping_that_fails_keeps_no_other_from_being_done(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    done = fail_step(monkeypatch, STEPS, step)
    await later(hand)
    assert done == {name for _, name in STEPS} - {step}


async def damage(hand: Hand, uid: str, table: sa.Table = rows, column: str = "spec") -> None:
    key = table.c.uid if table is rows else table.c.job_uid
    async with hand.core.db.write() as tx:
        await tx.execute(sa.update(table).where(key == uid).values({column: sa.literal_column("'{'")}))


@pytest.mark.parametrize(("table", "column"), [(rows, "spec"), (rows, "reason"), (attempts, "end_reason")])
async def test_a_job_at_work_that_cannot_be_read_holds_up_itself_alone(
    hand: Hand, table: sa.Table, column: str
) -> None:
    broken, worker = await hand.running()
    await damage(hand, broken.uid, table, column)
    other = await hand.trainer.create()
    await hand.settle()
    assert (await hand.trainer.get(other.name)).attempt == 1
    assert hand.launcher.stops == [], "what runs may be whole again"
    async with hand.core.db.write() as tx:
        mended = {"spec": sa.select(rows.c.spec).where(rows.c.uid == other.uid).scalar_subquery()}
        values = mended if column == "spec" else {column: None}
        await tx.execute(sa.update(table).values(values))
    await worker.report(log("on"))
    await hand.settle()
    assert (await hand.trainer.get(broken.name)).attempt == 1


@pytest.mark.parametrize(("per_project", "gpus"), [(0, 1), (1, 0)])
async def test_a_job_at_work_that_cannot_be_read_keeps_its_part_of_the_machine_until_it_ends(
    world: World, per_project: int, gpus: int
) -> None:
    launcher = FakeLauncher(Resources(cpus=8, memory_bytes=64 << 30, gpus=1))
    asked = recipe_pb2.Resources(cpus=1, gpus=gpus)
    async with by_hand(world, launcher=launcher, max_running_per_project=per_project) as hand:
        broken, _ = await hand.running(resources=asked)
        await damage(hand, broken.uid)
        other = await hand.trainer.create(resources=asked)
        await hand.settle()
        waiting = await hand.trainer.get(other.name)
        assert (waiting.attempt, waiting.reason.code) == (0, "QUOTA_WAIT")
        launcher.ends(1, job_uid=broken.uid)
        await hand.settle()
        assert (await hand.trainer.get(other.name)).attempt == 1


@pytest.mark.parametrize("column", ["spec", "reason"])
async def test_a_job_that_waits_and_cannot_be_read_holds_up_itself_alone(hand: Hand, column: str) -> None:
    broken, other = await hand.trainer.create(), await hand.trainer.create()
    await damage(hand, broken.uid, column=column)
    await hand.settle()
    assert [order.job.uid for order in hand.launcher.orders] == [other.uid]


async def test_jobs_that_cannot_be_read_keep_none_from_being_tidied_up(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_AT_ONCE", 1)
    made = [await hand.trainer.create() for _ in range(4)]
    for job in made:
        await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    for job in made[:2]:
        await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    async with hand.core.db.write() as tx:
        await tx.execute(sa.update(rows).values(project_held=False))
    for job in (made[0], made[2]):
        await damage(hand, job.uid)
    await later(hand, passes=4)
    async with hand.core.db.read() as tx:
        found = {row.uid: row for row in await tx.execute(sa.select(rows.c.uid, rows.c.bury_time, rows.c.project_held))}
    assert found[made[0].uid].bury_time is None
    assert made[1].uid not in found or found[made[1].uid].bury_time
    assert [found[job.uid].project_held for job in made[2:]] == [False, True]
    assert (await hand.trainer.get(made[3].name)).oldest_sequence > 1


@pytest.mark.parametrize(("trouble", "tried"), [(ForeignError(), 3), (Unavailable("AWAY", "nobody answers"), 1)])
async def test_a_project_that_cannot_be_held_holds_up_no_other_unless_nobody_answers(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, trouble: Exception, tried: int
) -> None:
    asked = []

    async def hold(_core: object, job: Job) -> None:
        asked.append(job.uid)
        raise trouble

    for _ in range(3):
        await hand.trainer.create()
    async with hand.core.db.write() as tx:
        await tx.execute(sa.update(rows).values(project_held=False))
    monkeypatch.setattr(housekeeping, "hold_project", hold)
    await later(hand, passes=1)
    assert len(asked) == tried
