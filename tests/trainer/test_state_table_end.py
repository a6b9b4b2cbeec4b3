"""The rows of the state table for ends of attempts and what follows them; everything is moved by hand."""

from datetime import timedelta

import pytest
from google.protobuf import json_format

from bloomery.training.v1 import (
    AttemptFailure,
    AttemptStopped,
    Job,
    JobState,
    Reason,
)
from bloomery_kit.clients import DEFAULT_MESSAGE_BYTES
from bloomery_kit.errors import Aborted
from bloomery_kit.metrics import REGISTRY
from bloomery_trainer import metrics as counters
from bloomery_trainer.launcher import Launched, Phase, Termination
from bloomery_trainer.model import SUCCESSORS, State
from bloomery_trainer.model import Job as KnownJob
from bloomery_trainer.model import Reason as KnownReason
from bloomery_trainer.store import jobs
from tests.trainer.bench import reason_of
from tests.trainer.hand import POLICY, FakeWorker, Hand, artifact_of, log
from tests.trainer.moves import FLAKY, OOM, cancel, leave_manifest, state


async def preparing(hand: Hand) -> tuple[Job, FakeWorker]:
    """A job whose worker has called, and does not work yet."""
    job = await hand.queued()
    worker = await hand.worker()
    await hand.settle(1)
    assert await state(hand, job) == "PREPARING"
    return job, worker


class TestEnds:
    async def test_a_passing_failure_is_tried_again_later_and_later(self, hand: Hand) -> None:
        job, worker = await hand.running()
        for delay in (10, 20):
            assert await worker.finish(failure=AttemptFailure(reason=FLAKY)) == JobState.JOB_STATE_RUNNING
            hand.launcher.ends(1)
            await hand.settle()
            assert await state(hand, job) == "PENDING"
            await hand.after(delay - 1)
            assert await state(hand, job) == "PENDING"
            await hand.after(2)
            worker = await hand.worker()
            await worker.report(log("again"))
        await worker.finish(failure=AttemptFailure(reason=FLAKY))
        hand.launcher.ends(1)
        await hand.settle()
        failed = await hand.trainer.get(job.name)
        assert (await state(hand, job), failed.attempt, failed.reason.code) == ("FAILED", 3, "STALLED")
        assert "3 attempts" in failed.reason.message

    async def test_the_infrastructures_faults_have_a_budget_of_their_own(self, hand: Hand) -> None:
        job, _ = await hand.running()
        for attempt in range(1, 11):
            hand.launcher.ends(None)
            await hand.settle()
            waiting = await hand.trainer.get(job.name)
            assert (await state(hand, job), waiting.reason.code, waiting.attempt) == ("PENDING", "WORKER_LOST", attempt)
            await hand.after(POLICY.retry_delay_max)
            await hand.worker()
        hand.launcher.ends(None)
        await hand.settle()
        assert await state(hand, job) == "FAILED"

    async def test_a_failure_that_is_reported_twice_is_counted_once(self, hand: Hand) -> None:
        job, worker = await hand.running()
        for _ in range(2):
            await worker.finish(failure=AttemptFailure(reason=FLAKY))
        hand.launcher.ends(1)
        await hand.settle()
        await hand.after(POLICY.retry_delay + 1)
        assert hand.launcher.orders[-1].attempt == 2
        assert await state(hand, job) == "QUEUED"
        # What the worker said is still what is known of its end.
        assert await worker.finish(failure=AttemptFailure(reason=FLAKY)) == JobState.JOB_STATE_RUNNING

    async def test_too_little_memory_is_tried_once_more_only(self, hand: Hand) -> None:
        job, _ = await hand.running()
        reason = KnownReason("OOM_HOST", "killed by the kernel", retriable=True)
        for _ in range(2):
            hand.launcher.ends(137, termination=Termination(137, reason=reason))
            await hand.settle()
            await hand.after(POLICY.retry_delay_max)
        assert (await state(hand, job), hand.launcher.orders[-1].attempt) == ("FAILED", 2)

    async def test_a_users_error_fails_at_once_with_the_tail_of_the_log(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.finish(failure=AttemptFailure(reason=OOM, log_tail="CUDA out of memory"))
        failed = await hand.trainer.get(job.name)
        assert (await state(hand, job), failed.reason.hint) == ("FAILED", "batch=4 fits")
        texts = [message.event.log.message for message in await hand.trainer.watch(job.name)]
        assert "CUDA out of memory" in texts

    async def test_the_log_of_a_lost_worker_is_saved(self, hand: Hand) -> None:
        job, _ = await hand.running()
        hand.launcher.tail = ["Traceback", "MemoryError"]
        hand.launcher.ends(1)
        await hand.settle()
        await cancel(hand, job)
        texts = [message.event.log.message for message in await hand.trainer.watch(job.name)]
        assert "MemoryError" in texts

    async def test_exit_42_without_a_word_is_the_users_code(self, hand: Hand) -> None:
        job, _ = await hand.running()
        hand.launcher.ends(42)
        await hand.settle()
        assert (await state(hand, job), (await hand.trainer.get(job.name)).reason.code) == ("FAILED", "USER_CODE")

    async def test_a_worker_stopped_from_outside_goes_on(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.finish(stopped=AttemptStopped(epoch=1))
        hand.launcher.ends(44)
        await hand.settle()
        assert (await hand.trainer.get(job.name)).reason.code == "EVICTED"
        await hand.after(POLICY.retry_delay + 1)
        assert hand.launcher.orders[-1].attempt == 2

    async def test_the_deadline_counts_all_attempts(self, hand: Hand) -> None:
        job = await hand.queued(deadline_seconds=100)
        await hand.worker()
        await hand.reconcile(1)
        await hand.after(60)
        hand.launcher.ends(None)
        await hand.settle()
        await hand.after(POLICY.retry_delay + 1)
        worker = await hand.worker()
        await worker.report(log("second"))
        await hand.reconcile(1)
        await hand.after(50)
        await hand.settle()
        failed = await hand.trainer.get(job.name)
        assert (await state(hand, job), failed.reason.code) == ("FAILED", "DEADLINE")
        assert hand.launcher.running == []

    async def test_a_silent_worker_is_suspected_and_comes_back(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await hand.after(POLICY.suspect_after + 1)
        assert (await hand.trainer.get(job.name)).reason.code == "WORKER_SILENT"
        await worker.report()
        await hand.settle()
        assert not (await hand.trainer.get(job.name)).HasField("reason")
        assert hand.launcher.stops == []

    async def test_a_worker_that_stays_silent_is_replaced_once_it_is_gone(self, hand: Hand) -> None:
        job, worker = await hand.running()
        hand.launcher.stubborn = True
        await hand.after(POLICY.lost_after + 1)
        await hand.settle()
        assert await reason_of(worker.report(log("back"))) == "ATTEMPT_SUPERSEDED"
        assert (len(hand.launcher.orders), await state(hand, job)) == (1, "RUNNING")
        hand.launcher.ends(-9)
        await hand.settle()
        assert (await state(hand, job), (await hand.trainer.get(job.name)).reason.code) == ("PENDING", "WORKER_LOST")

    async def test_who_could_not_look_for_long_does_not_take_that_for_silence(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await hand.unseen(POLICY.lost_after + 1)
        assert hand.launcher.stops == []
        assert not (await hand.trainer.get(job.name)).HasField("reason")
        await hand.after(POLICY.lost_after - 1)
        assert (await hand.trainer.get(job.name)).reason.code == "WORKER_SILENT"
        await worker.report(log("back"))
        await hand.settle()
        assert await state(hand, job) == "RUNNING"

    async def test_a_shifted_system_clock_makes_nobody_silent(self, hand: Hand) -> None:
        job, _ = await hand.running()
        hand.follow_clock()
        hand.clock.shift = timedelta(hours=1)
        await hand.settle()
        assert await state(hand, job) == "RUNNING"
        assert hand.launcher.stops == []

    async def test_a_trainer_that_hangs_is_stopped(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.report(stalled=True)
        await hand.settle()
        await hand.after(POLICY.stall_grace + 1)
        await hand.settle()
        assert (await state(hand, job), (await hand.trainer.get(job.name)).reason.code) == ("PENDING", "STALLED")

    async def test_a_trainer_that_moves_again_goes_on(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.report(stalled=True)
        await hand.settle()
        await hand.after(POLICY.stall_grace - 10)
        await worker.report(stalled=False)
        await hand.after(20)
        await worker.report(stalled=True)
        await hand.after(POLICY.stall_grace - 10)
        assert await state(hand, job) == "RUNNING"

    async def test_what_was_removed_by_others_is_tried_again(self, hand: Hand) -> None:
        job, _ = await hand.running()
        hand.launcher.vanishes()
        await hand.settle()
        assert (await hand.trainer.get(job.name)).reason.code == "DELETED_EXTERNALLY"
        await cancel(hand, job)
        assert await state(hand, job) == "CANCELLED"

    async def test_what_vanishes_before_it_says_a_word_is_not_launched_again(self, hand: Hand) -> None:
        job = await hand.queued()
        hand.launcher.vanishes()
        await hand.settle()
        assert (await hand.trainer.get(job.name)).reason.code == "DELETED_EXTERNALLY"
        assert [order.attempt for order in hand.launcher.orders] == [1]

    async def test_an_unannounced_result_that_is_not_whole_is_none(self, hand: Hand) -> None:
        job, worker = await hand.running()
        made = await worker.success(hand.core)
        made.artifacts.append(artifact_of("metrics", b"never uploaded"))
        await leave_manifest(hand, worker, made)
        hand.launcher.ends(0)
        await hand.settle()
        tried = await hand.trainer.get(job.name)
        assert (await state(hand, job), tried.reason.code) == ("PENDING", "COMPLETED_WITHOUT_RESULT")

    @pytest.mark.parametrize("excess", ["size", "depth"])
    async def test_a_result_manifest_that_no_call_could_carry_is_none(self, hand: Hand, excess: str) -> None:
        job, worker = await hand.running()
        made = json_format.MessageToJson(await worker.success(hand.core)).encode()
        content = made + b" " * DEFAULT_MESSAGE_BYTES if excess == "size" else b"[" * 100_000
        await worker.upload(hand.core, "result-manifest", content)
        hand.launcher.ends(0)
        await hand.settle()
        tried = await hand.trainer.get(job.name)
        assert (await state(hand, job), tried.reason.code) == ("PENDING", "COMPLETED_WITHOUT_RESULT")

    async def test_what_vanishes_while_cancelling_is_cancelled(self, hand: Hand) -> None:
        job, _ = await hand.running()
        await cancel(hand, job)
        hand.launcher.vanishes()
        await hand.settle()
        assert await state(hand, job) == "CANCELLED"

    @pytest.mark.parametrize("phase", [Phase.SUSPENDED, Phase.WAITING])
    @pytest.mark.parametrize("began", [True, False])
    async def test_a_worker_that_is_taken_away_waits_and_another_takes_up_the_attempt(
        self, hand: Hand, phase: Phase, began: bool
    ) -> None:
        job, worker = await (hand.running() if began else preparing(hand))
        hand.launcher.becomes(phase)
        await hand.settle()
        queued = await hand.trainer.get(job.name)
        assert (await state(hand, job), queued.reason.code, queued.attempt) == ("QUEUED", "PREEMPTED", 1)
        assert await reason_of(worker.report(log("zombie"))) == "UNAUTHENTICATED"
        hand.launcher.becomes(Phase.RUNNING)
        await hand.settle()
        again = await hand.worker("w2")
        assert (again.start.attempt, len(hand.launcher.orders)) == (1, 1)
        await again.report(log("go on"))
        assert await state(hand, job) == "RUNNING"

    async def test_the_devices_of_a_worker_that_is_taken_away_are_counted(self, hand: Hand) -> None:
        hand.follow_clock()

        def counted() -> float:
            return REGISTRY.get_sample_value("bloomery_training_gpu_seconds_total") or 0.0

        before = counted()
        await hand.running(resources={"gpus": 2})
        hand.clock.seconds += 50
        hand.launcher.becomes(Phase.SUSPENDED)
        await hand.settle()
        assert counted() - before == pytest.approx(100, abs=30)

    async def test_a_look_that_may_be_older_than_the_worker_takes_nothing_away(self, hand: Hand) -> None:
        job = await hand.queued()
        hand.launcher.becomes(Phase.WAITING)
        await hand.worker()
        await hand.reconcile(1)
        assert await state(hand, job) == "PREPARING"
        hand.launcher.becomes(Phase.RUNNING)
        await hand.settle()
        assert await state(hand, job) == "PREPARING"

    async def test_a_look_that_may_be_older_than_the_next_worker_takes_nothing_away(self, hand: Hand) -> None:
        job, _ = await preparing(hand)
        hand.launcher.becomes(Phase.WAITING)
        await hand.reconcile(1)
        assert await state(hand, job) == "QUEUED"
        await hand.worker("w2")
        await hand.reconcile(1)
        assert await state(hand, job) == "PREPARING"

    async def test_a_worker_that_one_look_misses_is_looked_for_again(self, hand: Hand) -> None:
        job = await hand.queued()
        await hand.worker()
        thing = hand.launcher.things.pop((job.uid, 1))
        await hand.reconcile(1)
        hand.launcher.things[job.uid, 1] = thing
        await hand.settle()
        assert (await state(hand, job), (await hand.trainer.get(job.name)).attempt) == ("PREPARING", 1)

    async def test_the_deadline_leaves_out_the_time_in_which_nothing_worked(self, hand: Hand) -> None:
        job, _ = await hand.running(deadline_seconds=100)
        await hand.after(60)
        hand.launcher.becomes(Phase.SUSPENDED)
        await hand.after(3600)
        hand.launcher.becomes(Phase.RUNNING)
        await hand.settle()
        again = await hand.worker("w2")
        await again.report(log("go on"))
        await hand.unseen(20)
        assert await state(hand, job) == "RUNNING"
        await hand.unseen(21)
        await hand.settle()
        assert (await hand.trainer.get(job.name)).reason.code == "DEADLINE"

    async def test_strangers_and_leftovers_are_cleared_away(self, hand: Hand) -> None:
        _, worker = await hand.running()
        await worker.finish(success=await worker.success(hand.core))
        await hand.settle()
        assert len(hand.launcher.things) == 1
        stranger = ("f" * 32, 1)
        hand.launcher.things[stranger] = Launched(*stranger, Phase.RUNNING)
        before = counters.ORPHANS._value.get()
        await hand.after(POLICY.exit_grace + 1)
        await hand.settle()
        assert hand.launcher.things == {}
        assert counters.ORPHANS._value.get() > before


class TestMoves:
    async def test_only_moves_of_the_table_are_made(self, hand: Hand) -> None:
        known = await _known(hand, await hand.trainer.create())
        for to in set(State) - SUCCESSORS[known.state] - {known.state}:
            with pytest.raises(RuntimeError, match="not in the state table"):
                async with hand.core.db.write() as tx:
                    await jobs.move(tx, known, now=hand.clock.now(), to=to)
        assert (await _known(hand, known)).version == known.version

    async def test_a_move_from_an_older_state_is_refused(self, hand: Hand) -> None:
        known = await _known(hand, await hand.trainer.create())
        async with hand.core.db.write() as tx:
            await jobs.move(tx, known, now=hand.clock.now(), reason=KnownReason("X", "first"))
        with pytest.raises(Aborted, match="moved on"):
            async with hand.core.db.write() as tx:
                await jobs.move(tx, known, now=hand.clock.now(), reason=KnownReason("X", "second"))


async def _known(hand: Hand, job: Job | KnownJob) -> KnownJob:
    async with hand.core.db.read() as tx:
        known = await jobs.find(tx, job.uid)
    assert known is not None
    return known


async def test_a_file_that_would_run_code_is_an_alert_with_who_gave_it(
    hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("bloomery_alerts_total", {"event": "unsafe_file"}) or 0.0

    before = count()
    job, worker = await hand.running()
    end = AttemptFailure(reason=Reason(code="UNSAFE_FILE", message="it names posix.system"))
    for _ in range(2):
        assert await worker.finish(failure=end) == JobState.JOB_STATE_FAILED
    [record] = [record for record in caplog.records if record.name == "bloomery.alerts"]
    assert (record.levelname, record.getMessage()) == ("ERROR", "it names posix.system")
    told = vars(record)
    assert (told["event"], told["job"], told["creator"]) == ("unsafe_file", job.name, job.creator)
    assert count() == before + 1
