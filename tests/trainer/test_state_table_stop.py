"""The rows of the state table for pausing and cancelling, with duplicates and races; all is moved by hand."""

import pytest

from bloomery.training.v1 import (
    DIRECTIVE_CANCEL,
    DIRECTIVE_PAUSE,
    JOB_STATE_CANCELLED,
    AttemptFailure,
    AttemptStopped,
    AttemptSuccess,
    CancelJobRequest,
    JobState,
    ListCheckpointsRequest,
    ListJobEventsRequest,
)
from bloomery_kit.auth import PRINCIPAL_HEADER, Principal, Role, format_principal
from tests.trainer.bench import AS_SERVICE, reason_of
from tests.trainer.hand import POLICY, Hand, log
from tests.trainer.moves import FLAKY, OOM, cancel, leave_manifest, pause, resume, state


class TestPausing:
    async def test_the_worker_is_asked_to_stop_and_the_launcher_confirms(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.checkpoint(hand.core, 3)
        await pause(hand, job)
        assert (await worker.report()).directive == DIRECTIVE_PAUSE
        await worker.finish(stopped=AttemptStopped(epoch=3))
        await hand.settle()
        assert await state(hand, job) == "PAUSING"
        hand.launcher.ends(44)
        await hand.settle()
        assert await state(hand, job) == "PAUSED"

    async def test_a_second_pause_changes_nothing(self, hand: Hand) -> None:
        job, _ = await hand.running()
        first, second = await pause(hand, job), await pause(hand, job)
        assert first.last_sequence == second.last_sequence

    async def test_a_silent_worker_is_stopped(self, hand: Hand) -> None:
        job, _ = await hand.running()
        await pause(hand, job)
        await hand.settle()
        assert hand.launcher.stops == []
        await hand.after(POLICY.pause_grace + 1)
        await hand.settle()
        assert (len(hand.launcher.stops), await state(hand, job)) == (1, "PAUSED")

    async def test_a_worker_that_never_called_has_nothing_to_save(self, hand: Hand) -> None:
        paused, cancelled = await hand.queued(), await hand.queued()
        await pause(hand, paused)
        await cancel(hand, cancelled)
        await hand.settle()
        assert len(hand.launcher.stops) == 2
        assert [await state(hand, job) for job in (paused, cancelled)] == ["PAUSED", "CANCELLED"]

    async def test_a_pause_before_any_launch_needs_nobody(self, hand: Hand) -> None:
        job = await hand.trainer.create()
        await pause(hand, job)
        await hand.settle()
        assert (await state(hand, job), hand.launcher.orders) == ("PAUSED", [])

    async def test_a_worker_that_dies_while_pausing_leaves_a_paused_job(self, hand: Hand) -> None:
        job, _ = await hand.running()
        await pause(hand, job)
        hand.launcher.ends(-9)
        await hand.settle()
        assert await state(hand, job) == "PAUSED"

    async def test_a_vanished_worker_leaves_a_paused_job(self, hand: Hand) -> None:
        job, _ = await hand.running()
        await pause(hand, job)
        hand.launcher.vanishes()
        await hand.settle()
        assert await state(hand, job) == "PAUSED"

    async def test_a_late_worker_of_a_paused_job_is_fenced(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await pause(hand, job)
        hand.launcher.vanishes()
        await hand.settle()
        assert await reason_of(worker.report(log("still here"))) == "ATTEMPT_SUPERSEDED"
        assert await reason_of(worker.finish(success=AttemptSuccess())) == "ATTEMPT_SUPERSEDED"

    async def test_completion_that_races_a_pause_wins(self, hand: Hand) -> None:
        job, worker = await hand.running()
        made = await worker.success(hand.core)
        await pause(hand, job)
        assert await worker.finish(success=made) == JobState.JOB_STATE_SUCCEEDED
        assert await reason_of(pause(hand, job)) == "NOT_PAUSABLE"

    async def test_a_result_that_a_pausing_worker_left_unannounced_wins(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await leave_manifest(hand, worker, await worker.success(hand.core))
        await pause(hand, job)
        hand.launcher.ends(0)
        await hand.settle()
        assert await state(hand, job) == "SUCCEEDED"

    async def test_a_users_error_while_pausing_fails_the_job(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await pause(hand, job)
        assert await worker.finish(failure=AttemptFailure(reason=OOM)) == JobState.JOB_STATE_FAILED
        assert await state(hand, job) == "FAILED"

    async def test_resume_makes_the_next_attempt_from_the_checkpoint(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.checkpoint(hand.core, 3)
        await pause(hand, job)
        assert await reason_of(resume(hand, job)) == "NOT_RESUMABLE"
        hand.launcher.ends(44)
        await hand.settle()
        first, second = await resume(hand, job), await resume(hand, job)
        assert first.last_sequence == second.last_sequence
        await hand.settle()
        again = await hand.worker("w2")
        assert (again.start.attempt, again.start.resume_epoch) == (2, 3)
        assert [file.path for file in again.start.resume_from] == ["weights.pt"]
        assert (await hand.trainer.get(job.name)).progress.epoch == 3

    async def test_resume_waits_for_no_delay(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.finish(failure=AttemptFailure(reason=FLAKY))
        hand.launcher.ends(1)
        await hand.settle()
        await pause(hand, job)
        await resume(hand, job)
        await hand.settle(1)
        assert hand.launcher.orders[-1].attempt == 2


class TestCancelling:
    async def test_nothing_launched_is_cancelled_at_once(self, hand: Hand) -> None:
        waiting, paused = await hand.trainer.create(), await hand.trainer.create()
        await pause(hand, paused)
        assert [(await cancel(hand, job)).state for job in (waiting, paused)] == [JobState.JOB_STATE_CANCELLED] * 2
        await hand.settle()
        assert hand.launcher.orders == []

    async def test_cancel_of_a_terminal_job_returns_it(self, hand: Hand) -> None:
        job = await hand.trainer.create()
        first, second = await cancel(hand, job), await cancel(hand, job)
        assert first.last_sequence == second.last_sequence

    async def test_cancel_comes_too_late_for_what_succeeded_or_failed(self, hand: Hand) -> None:
        succeeded, worker = await hand.running()
        await worker.finish(success=await worker.success(hand.core))
        failed, worker = await hand.running()
        await worker.finish(failure=AttemptFailure(reason=OOM))
        for job in (succeeded, failed):
            before = await hand.trainer.get(job.name)
            after = await cancel(hand, job, force=True)
            assert (after.state, after.last_sequence) == (before.state, before.last_sequence)

    async def test_the_worker_may_save_a_checkpoint(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await cancel(hand, job)
        reply = await worker.report()
        assert (reply.directive, reply.force) == (DIRECTIVE_CANCEL, False)
        await worker.checkpoint(hand.core, 2)
        await worker.finish(stopped=AttemptStopped(epoch=2))
        await hand.settle()
        assert await state(hand, job) == "CANCELLING"
        hand.launcher.ends(44)
        await hand.settle()
        assert (await state(hand, job), hand.launcher.things) == ("CANCELLED", {})
        kept = await hand.trainer.jobs.ListCheckpoints(ListCheckpointsRequest(parent=job.name))
        assert [checkpoint.epoch for checkpoint in kept.checkpoints] == [2]
        left = [stat.key.split("/")[4] async for stat in hand.core.objects.list(f"{'a' * 32}/jobs/{job.uid}/")]
        assert sorted(left) == ["checkpoint", "checkpoint-manifest"]

    async def test_a_deaf_worker_is_stopped_after_the_grace(self, hand: Hand) -> None:
        job, _ = await hand.running()
        hand.launcher.stubborn = True
        await cancel(hand, job)
        await hand.settle()
        assert hand.launcher.stops == []
        await hand.after(POLICY.cancel_grace + 1)
        assert [stop[2] for stop in hand.launcher.stops] == [POLICY.stop_grace]
        assert await state(hand, job) == "CANCELLING"
        hand.launcher.ends(-9)
        await hand.settle()
        assert await state(hand, job) == "CANCELLED"

    async def test_force_gives_no_grace(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await cancel(hand, job)
        await cancel(hand, job, force=True)
        assert (await worker.report()).force
        await hand.settle()
        assert hand.launcher.stops[0][2] == 0
        assert await state(hand, job) == "CANCELLED"

    @pytest.mark.parametrize("force", [False, True])
    async def test_the_end_says_who_asked_for_it_wherever_the_job_was(self, hand: Hand, force: bool) -> None:
        waiting, paused, (working, _) = await hand.trainer.create(), await hand.trainer.create(), await hand.running()
        await pause(hand, paused)
        said = f"owner cancelled it{' with force' if force else ''}"
        for job in (waiting, paused, working):
            reason = (await cancel(hand, job, force=force)).reason
            assert (reason.code, reason.message, bool(reason.hint)) == ("CANCELLED", said, True)
        hand.launcher.ends(44)
        await hand.settle()
        for job in (waiting, paused, working):
            ended = await hand.trainer.get(job.name)
            assert (ended.state, ended.reason.message) == (JOB_STATE_CANCELLED, said)
            events = (await hand.trainer.jobs.ListJobEvents(ListJobEventsRequest(parent=job.name))).events
            assert events[-1].state_changed.reason.message == said

    async def test_the_end_names_the_person_behind_a_service_and_who_used_force(self, hand: Hand) -> None:
        job, _ = await hand.running()
        await cancel(hand, job)
        vera = ((PRINCIPAL_HEADER, format_principal(Principal("vera", Role.TRAINER))),)
        request = CancelJobRequest(name=job.name, force=True)
        await hand.trainer.jobs.CancelJob(request, metadata=AS_SERVICE + vera)
        await hand.settle()
        ended = await hand.trainer.get(job.name)
        assert (ended.state, ended.reason.message) == (JOB_STATE_CANCELLED, "vera cancelled it with force")

    async def test_success_comes_too_late_and_its_objects_are_collected(self, hand: Hand) -> None:
        job, worker = await hand.running()
        made = await worker.success(hand.core)
        await cancel(hand, job)
        assert await reason_of(worker.finish(success=made)) == "ATTEMPT_SUPERSEDED"
        hand.launcher.ends(43)
        await hand.settle()
        assert await state(hand, job) == "CANCELLED"
        assert [stat.key async for stat in hand.core.objects.list(f"{'a' * 32}/jobs/")] == []

    async def test_a_failure_while_cancelling_is_a_cancellation(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await cancel(hand, job)
        await worker.finish(failure=AttemptFailure(reason=OOM))
        hand.launcher.ends(42)
        await hand.settle()
        assert await state(hand, job) == "CANCELLED"

    async def test_a_pausing_job_can_be_cancelled(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await pause(hand, job)
        await cancel(hand, job)
        assert (await worker.report()).directive == DIRECTIVE_CANCEL
