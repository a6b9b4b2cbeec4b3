"""A launcher that takes a worker away starts another one for the same attempt: whoever looks, and whenever, it goes on.

The workers are called "pod-1", "pod-2", ... by the launcher, in the order in which they begin.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from bloomery.training.v1 import DIRECTIVE_PAUSE, AttemptFailure, AttemptStopped, Job, JobState
from bloomery_trainer.launcher import Phase
from bloomery_trainer.model import Attempt, Outcome
from bloomery_trainer.model import Reason as KnownReason
from bloomery_trainer.reconcile import Reconciler
from bloomery_trainer.store import attempts, jobs
from tests import databases
from tests.trainer.bench import World, failure, reason_of
from tests.trainer.hand import POLICY, FakeWorker, Hand, by_hand, log
from tests.trainer.moves import FLAKY, cancel, leave_manifest, pause, state


@pytest.fixture(params=databases.BOTH)
def database_url(world: World, request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return databases.sqlite_url("trainer", world.folder / "training.db")
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
async def hand(world: World, database_url: str) -> AsyncIterator[Hand]:
    async with by_hand(world, database_url=database_url) as hand:
        yield hand


async def begun(hand: Hand, *, working: bool = True, **fields: Any) -> tuple[Job, FakeWorker]:
    """A job whose first pod has bound, and reported if it is `working`; the leader has seen that."""
    job = await hand.queued(**fields)
    hand.launcher.becomes(Phase.RUNNING, incarnation="pod-1")
    await hand.reconcile(1)
    worker = await hand.worker("w1", "pod-1")
    if working:
        await worker.report(log("first"))
    await hand.reconcile(2)
    return job, worker


def restarts(hand: Hand, number: int = 2) -> None:
    """The pod has gone and the next one runs, and nobody saw anything between."""
    hand.launcher.becomes(Phase.RUNNING, incarnation=f"pod-{number}")


async def begins(hand: Hand, number: int = 2) -> FakeWorker:
    return await hand.worker(f"w{number}", f"pod-{number}")


async def present(hand: Hand, job: Job) -> Attempt:
    async with hand.core.db.read() as tx:
        found = await attempts.find(tx, job.uid, 1)
    assert found is not None
    return found


@pytest.mark.parametrize("working", [True, False])
async def test_a_worker_that_was_replaced_while_nobody_looked_is_followed_by_the_next(
    hand: Hand, working: bool
) -> None:
    job, first = await begun(hand, working=working)
    restarts(hand)
    assert await reason_of(begins(hand)) == "ANOTHER_INCARNATION"
    await hand.reconcile(1)
    queued = await hand.trainer.get(job.name)
    assert (await state(hand, job), queued.reason.code, queued.attempt) == ("QUEUED", "PREEMPTED", 1)
    await hand.reconcile(1)
    assert await state(hand, job) == "PREPARING"
    again = await begins(hand)
    assert await reason_of(first.report(log("zombie"))) == "UNAUTHENTICATED"
    await again.report(log("go on"))
    await hand.reconcile(2)
    assert (await state(hand, job), again.start.attempt, len(hand.launcher.orders)) == ("RUNNING", 1, 1)
    assert await again.finish(success=await again.success(hand.core)) == (await hand.trainer.get(job.name)).state


async def test_the_next_worker_wakes_the_leader_and_is_told_when_to_come_again(hand: Hand) -> None:
    await begun(hand)
    restarts(hand)
    hand.core.moved.clear()
    status = await failure(begins(hand))
    assert any(detail.type_url.endswith("RetryInfo") for detail in status.details)
    assert hand.core.moved.is_set()


async def test_words_of_the_former_worker_count_until_the_next_one_is_found(hand: Hand) -> None:
    job, first = await begun(hand)
    restarts(hand)
    made = await first.success(hand.core)
    await reason_of(begins(hand))
    await first.finish(success=made)
    assert await reason_of(begins(hand)) == "ATTEMPT_SUPERSEDED"
    await hand.settle()
    assert await state(hand, job) == "SUCCEEDED"


@pytest.mark.parametrize("bound", [True, False])
async def test_a_late_beginning_of_the_former_worker_takes_nothing_from_the_next(hand: Hand, bound: bool) -> None:
    job, _ = await begun(hand)
    restarts(hand)
    await hand.reconcile(1)
    again = await begins(hand) if bound else None
    assert await reason_of(hand.worker("w1", "pod-1")) == "ANOTHER_INCARNATION"
    await hand.reconcile(2)
    again = again or await begins(hand)
    await again.report(log("go on"))
    assert await state(hand, job) == "RUNNING"


async def test_a_beginning_that_arrives_after_its_worker_has_gone_holds_up_nobody_for_long(hand: Hand) -> None:
    job = await hand.queued()
    restarts(hand)
    await hand.worker("w1", "pod-1")
    await hand.reconcile(3)
    again = await begins(hand)
    await again.report(log("go on"))
    assert (await state(hand, job), (await hand.trainer.get(job.name)).attempt) == ("RUNNING", 1)


async def test_a_worker_that_is_replaced_before_it_begins_is_waited_for_no_more(hand: Hand) -> None:
    job, _ = await begun(hand)
    for number in (2, 3):
        restarts(hand, number)
        await hand.reconcile(3)
    assert await reason_of(begins(hand, 2)) == "ANOTHER_INCARNATION"
    await (await begins(hand, 3)).report(log("go on"))
    assert await state(hand, job) == "RUNNING"


async def test_a_worker_that_is_replaced_before_it_calls_leaves_its_time_to_the_next(hand: Hand) -> None:
    job = await hand.queued()
    hand.launcher.becomes(Phase.RUNNING, incarnation="pod-1")
    await hand.reconcile(1)
    await hand.after(POLICY.launch_grace - 1)
    restarts(hand)
    await hand.after(POLICY.launch_grace - 1)
    assert ((await present(hand, job)).outcome, hand.launcher.stops) == (None, [])
    await (await begins(hand)).report(log("work"))
    assert await state(hand, job) == "RUNNING"


async def test_a_worker_that_does_not_know_its_incarnation_is_followed_by_the_next(hand: Hand) -> None:
    job = await hand.queued()
    hand.launcher.becomes(Phase.RUNNING, incarnation="pod-1")
    await hand.reconcile(1)
    await (await hand.worker("w1")).report(log("work"))
    restarts(hand)
    await hand.reconcile(2)
    await (await hand.worker("w2")).report(log("go on"))
    assert await state(hand, job) == "RUNNING"


async def test_a_second_worker_of_the_same_incarnation_is_refused(hand: Hand) -> None:
    await begun(hand)
    assert await reason_of(hand.worker("w2", "pod-1")) == "UNAUTHENTICATED"


async def test_a_repeated_beginning_is_answered_as_the_first(hand: Hand) -> None:
    await begun(hand)
    restarts(hand)
    await hand.reconcile(2)
    first, second = await begins(hand), await begins(hand)
    assert first.start.secret == second.start.secret
    await first.report(log("go on"))


async def test_a_worker_that_does_not_know_its_incarnation_works(hand: Hand) -> None:
    job = await hand.queued()
    restarts(hand)
    worker = await hand.worker("w1")
    await worker.report(log("work"))
    await hand.reconcile(3)
    assert await state(hand, job) == "RUNNING"
    assert await reason_of(begins(hand)) == "UNAUTHENTICATED"


async def test_a_worker_whose_start_the_launcher_has_not_heard_of_yet_keeps_its_attempt(hand: Hand) -> None:
    job = await hand.queued()
    hand.launcher.becomes(Phase.WAITING, incarnation="pod-1")
    await hand.reconcile(1)
    worker = await hand.worker("w1", "pod-1")
    await hand.reconcile(3)
    await worker.report(log("work"))
    await hand.reconcile(3)
    assert await state(hand, job) == "RUNNING"


@pytest.mark.parametrize("pausing", [False, True])
async def test_a_look_that_may_be_older_than_the_next_worker_takes_nothing_away(hand: Hand, pausing: bool) -> None:
    job, _ = await begun(hand)
    restarts(hand)
    await hand.reconcile(4)
    assert await state(hand, job) == "PREPARING"
    hand.launcher.becomes(Phase.RUNNING, incarnation="pod-1")
    again = await begins(hand)
    if pausing:
        await pause(hand, job)
    await hand.reconcile(1)
    restarts(hand)
    await hand.reconcile(2)
    await again.report(log("go on"))
    assert (await state(hand, job), hand.launcher.stops) == ("PAUSING" if pausing else "RUNNING", [])


async def test_a_worker_that_begins_after_the_look_is_not_taken_away(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may begin without a move of its job, between the look and the write."""
    job = await hand.queued()
    await hand.reconcile(2)
    hand.launcher.becomes(Phase.WAITING)
    look, begin = Reconciler._look, True

    async def look_then_begin(reconciler: Reconciler) -> Any:
        nonlocal begin
        world = await look(reconciler)
        if begin:
            begin = False
            await hand.worker("w1")
        return world

    monkeypatch.setattr(Reconciler, "_look", look_then_begin)
    await hand.reconcile(1)
    assert (await state(hand, job), (await present(hand, job)).worker_id) == ("PREPARING", "w1")


def after_the_look(monkeypatch: pytest.MonkeyPatch, does: Callable[[], Awaitable[Any]]) -> None:
    """Do something once, between the next look and what is written for it."""
    look, left = Reconciler._look, [does]

    async def look_then(reconciler: Reconciler) -> Any:
        world = await look(reconciler)
        if left:
            await left.pop()()
        return world

    monkeypatch.setattr(Reconciler, "_look", look_then)


@pytest.mark.parametrize("trouble", ["replaced", "ended"])
async def test_a_last_word_that_comes_after_the_look_counts(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    job, worker = await begun(hand)
    await leave_manifest(hand, worker, await worker.success(hand.core))
    if trouble == "replaced":
        restarts(hand)
    else:
        hand.launcher.ends(0)
    after_the_look(monkeypatch, lambda: worker.finish(failure=AttemptFailure(reason=FLAKY)))
    await hand.reconcile(1)
    assert (await state(hand, job), (await present(hand, job)).outcome) == ("RUNNING", Outcome.FAILURE)
    assert await worker.finish(failure=AttemptFailure(reason=FLAKY)) == (await hand.trainer.get(job.name)).state


async def test_a_worker_that_speaks_again_after_the_look_is_not_lost(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, worker = await begun(hand)
    for _ in range(int(POLICY.lost_after / POLICY.suspect_after)):
        hand.clock.seconds += POLICY.suspect_after - 1
        await hand.reconcile(1)
    assert (await present(hand, job)).outcome is None, "not lost yet, or the test shows nothing"
    hand.clock.seconds += POLICY.suspect_after - 1
    after_the_look(monkeypatch, worker.report)
    await hand.reconcile(2)
    assert (await state(hand, job), (await present(hand, job)).outcome) == ("RUNNING", None)


async def test_a_worker_that_is_asked_to_stop_before_it_is_replaced_is_followed_by_the_next(hand: Hand) -> None:
    job, first = await begun(hand)
    assert JobState.Name(await first.finish(stopped=AttemptStopped(epoch=1))) == "JOB_STATE_QUEUED"
    assert (await hand.trainer.get(job.name)).reason.code == "EVICTED"
    await hand.reconcile(1)
    restarts(hand)
    await hand.reconcile(2)
    again = await begins(hand)
    await again.report(log("go on"))
    await hand.reconcile(2)
    async with hand.core.db.read() as tx:
        found = await jobs.find(tx, job.uid)
    assert found is not None
    assert (await state(hand, job), found.attempt, found.infra_failures, hand.launcher.stops) == ("RUNNING", 1, 0, [])


async def test_a_worker_that_is_asked_to_stop_and_followed_by_none_costs_a_try(hand: Hand) -> None:
    job, first = await begun(hand)
    await first.finish(stopped=AttemptStopped(epoch=1))
    hand.launcher.ends(44)
    await hand.settle()
    assert (await hand.trainer.get(job.name)).reason.code == "EVICTED"
    await hand.after(POLICY.retry_delay + 1)
    assert hand.launcher.orders[-1].attempt == 2


@pytest.mark.parametrize("ask", [pause, cancel])
async def test_a_replaced_worker_has_nothing_to_save(hand: Hand, ask: Any) -> None:
    job, _ = await begun(hand)
    await ask(hand, job)
    await hand.reconcile(1)
    assert hand.launcher.stops == []
    restarts(hand)
    await hand.reconcile(1)
    assert [stop[2] for stop in hand.launcher.stops] == [POLICY.stop_grace]
    await hand.settle()
    assert await state(hand, job) == ("PAUSED" if ask is pause else "CANCELLED")


async def test_the_next_worker_is_told_of_a_pause(hand: Hand) -> None:
    job, _ = await begun(hand)
    restarts(hand)
    await hand.reconcile(1)
    again = await begins(hand)
    await pause(hand, job)
    assert (await again.report()).directive == DIRECTIVE_PAUSE


async def test_the_reason_is_the_launchers_own(hand: Hand) -> None:
    job, _ = await begun(hand)
    hand.launcher.becomes(Phase.RUNNING, KnownReason("EVICTED", "the node is drained"), incarnation="pod-2")
    await hand.reconcile(1)
    assert (await hand.trainer.get(job.name)).reason.code == "EVICTED"


async def test_the_next_worker_counts_from_its_own_beginning(hand: Hand) -> None:
    _, first = await begun(hand)
    for number in range(4):
        await first.report(log(str(number)))
    restarts(hand)
    await hand.reconcile(1)
    again = await begins(hand)
    assert (await again.report(log("one"), first=1)).acknowledged_sequence == 1


@pytest.mark.parametrize("began", [True, False])
async def test_a_worker_that_begins_after_a_long_wait_is_not_taken_for_a_silent_one(hand: Hand, began: bool) -> None:
    job = (await begun(hand))[0] if began else await hand.queued()
    hand.launcher.becomes(Phase.WAITING, incarnation="pod-2")
    await hand.after(2 * POLICY.lost_after)
    assert await state(hand, job) == "QUEUED"
    restarts(hand)
    await hand.reconcile(2)
    again = await begins(hand)
    await hand.reconcile(3)
    assert (await present(hand, job)).outcome is None
    await again.report(log("work"))
    assert await state(hand, job) == "RUNNING"


async def test_another_leader_lets_the_next_worker_begin(hand: Hand) -> None:
    job, _ = await begun(hand)
    restarts(hand)
    assert await reason_of(begins(hand)) == "ANOTHER_INCARNATION"
    hand.reconciler = Reconciler(hand.core, clock=hand.clock.monotonic)
    await hand.reconcile(2)
    await (await begins(hand)).report(log("go on"))
    assert await state(hand, job) == "RUNNING"
