"""The rows of the state table, each with its duplicates and races; everything is moved by hand."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.protobuf import json_format

from bloomery.training.v1 import (
    DIRECTIVE_CANCEL,
    DIRECTIVE_CONTINUE,
    DIRECTIVE_PAUSE,
    JOB_KIND_TRAIN,
    AttemptFailure,
    AttemptStopped,
    AttemptSuccess,
    CancelJobRequest,
    CreateJobRequest,
    Job,
    JobState,
    ListCheckpointsRequest,
    PauseJobRequest,
    Reason,
    ResumeJobRequest,
)
from bloomery_kit.errors import Aborted
from bloomery_trainer import metrics as counters
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import SUCCESSORS, Resources, State, Termination
from bloomery_trainer.model import Job as KnownJob
from bloomery_trainer.model import Reason as KnownReason
from bloomery_trainer.store import jobs
from tests.trainer.bench import World, reason_of
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import POLICY, FakeWorker, Hand, artifact_of, by_hand, log, metrics
from tests.trainer.neighbours import DATASET

OOM = Reason(code="OOM_GPU", message="out of memory", hint="batch=4 fits")
FLAKY = Reason(code="STALLED", message="no step", retriable=True)


@pytest.fixture
async def hand(world: World) -> AsyncIterator[Hand]:
    async with by_hand(world) as hand:
        yield hand


async def state(hand: Hand, job: Job) -> str:
    return JobState.Name((await hand.trainer.get(job.name)).state).removeprefix("JOB_STATE_")


async def cancel(hand: Hand, job: Job, *, force: bool = False) -> Job:
    return await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name, force=force))


async def pause(hand: Hand, job: Job) -> Job:
    return await hand.trainer.jobs.PauseJob(PauseJobRequest(name=job.name))


async def resume(hand: Hand, job: Job) -> Job:
    return await hand.trainer.jobs.ResumeJob(ResumeJobRequest(name=job.name))


async def leave_manifest(hand: Hand, worker: FakeWorker, made: AttemptSuccess) -> None:
    """What a worker leaves before its last call."""
    await worker.upload(hand.core, "result-manifest", json_format.MessageToJson(made).encode())


class TestWaiting:
    async def test_a_new_job_is_pending_and_holds_its_dataset(self, hand: Hand) -> None:
        job = await hand.trainer.create()
        assert await state(hand, job) == "PENDING"
        assert hand.trainer.world.datasets.holders == {(DATASET, job.name)}

    async def test_the_same_request_makes_one_job(self, hand: Hand) -> None:
        job = Job(kind=JOB_KIND_TRAIN, recipe="recipes/scripted", dataset_version=DATASET)
        request = CreateJobRequest(parent="projects/cells", job=job, request_id="r1")
        first, second = [await hand.trainer.jobs.CreateJob(request) for _ in range(2)]
        assert first.uid == second.uid
        request.job.priority = 3
        assert await reason_of(hand.trainer.jobs.CreateJob(request)) == "REQUEST_ID_REUSED"

    async def test_inputs_that_could_not_be_held_are_held_before_the_launch(self, hand: Hand) -> None:
        hand.trainer.world.datasets.down = True
        job = await hand.trainer.create()
        await hand.settle()
        assert (await state(hand, job), hand.launcher.orders) == ("PENDING", [])
        hand.trainer.world.datasets.down = False
        await hand.settle(2)
        assert len(hand.launcher.orders) == 1
        assert hand.trainer.world.datasets.holders == {(DATASET, job.name)}

    async def test_inputs_that_went_away_fail_the_job(self, hand: Hand) -> None:
        hand.trainer.world.datasets.down = True
        job = await hand.trainer.create()
        hand.trainer.world.datasets.down = False
        hand.trainer.world.datasets.versions.clear()
        await hand.settle()
        done = await hand.trainer.get(job.name)
        assert (await state(hand, job), done.reason.code) == ("FAILED", "DATA_ERROR")

    async def test_a_full_machine_is_said_once(self, world: World) -> None:
        async with by_hand(world, launcher=FakeLauncher(Resources(1, 1 << 30, 0))) as hand:
            await hand.queued()
            waiting = await hand.trainer.create()
            await hand.settle()
            job = await hand.trainer.get(waiting.name)
            assert (await state(hand, job), job.reason.code, job.last_sequence) == ("PENDING", "QUOTA_WAIT", 2)
            assert len(hand.launcher.orders) == 1

    async def test_what_never_fits_is_said_with_a_hint(self, world: World) -> None:
        async with by_hand(world, launcher=FakeLauncher(Resources(1, 1 << 30, 0))) as hand:
            job = await hand.trainer.create(resources={"gpus": 1})
            await hand.settle()
            job = await hand.trainer.get(job.name)
            assert job.reason.code == "UNSCHEDULABLE_GPU"
            assert "resources" in job.reason.hint

    async def test_the_queue_timeout_ends_the_waiting(self, world: World) -> None:
        policy = POLICY.model_copy(update={"queue_timeout": 0.000001})
        async with by_hand(world, launcher=FakeLauncher(Resources(1, 1, 0)), policy=policy) as hand:
            job = await hand.trainer.create()
            await hand.settle()
            assert await state(hand, job) == "FAILED"


class TestLaunching:
    async def test_the_attempt_is_written_before_it_is_launched(self, hand: Hand) -> None:
        hand.launcher.crash = "before"
        job = await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.reconciler.run_pass()
        assert (await state(hand, job), (await hand.trainer.get(job.name)).attempt) == ("QUEUED", 1)

    async def test_a_crash_before_the_launch_is_repaired(self, hand: Hand) -> None:
        hand.launcher.crash = "before"
        await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.reconciler.run_pass()
        hand.launcher.crash = "never"
        await hand.settle()
        assert [order.attempt for order in hand.launcher.orders] == [1]
        assert (await hand.worker()).start.attempt == 1

    async def test_a_crash_after_the_launch_is_adopted(self, hand: Hand) -> None:
        hand.launcher.crash = "after"
        job = await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.reconciler.run_pass()
        hand.launcher.crash = "never"
        await hand.settle()
        assert len(hand.launcher.orders) == 1
        assert await state(hand, job) == "PREPARING"

    async def test_a_passing_trouble_of_the_launcher_is_tried_again(self, hand: Hand) -> None:
        hand.launcher.refusal = KnownReason("LAUNCH_FAILED", "no processes left", retriable=True)
        job = await hand.trainer.create()
        await hand.settle()
        job = await hand.trainer.get(job.name)
        assert (await state(hand, job), job.reason.code) == ("PENDING", "LAUNCH_FAILED")
        hand.launcher.refusal = None
        await hand.after(POLICY.retry_delay)
        assert [order.attempt for order in hand.launcher.orders] == [2]

    async def test_a_pod_that_waits_shows_why_once(self, hand: Hand) -> None:
        job = await hand.queued()
        hand.launcher.becomes(Phase.WAITING, KnownReason("UNSCHEDULABLE_GPU", "no node has a GPU", "add one"))
        await hand.settle()
        waiting = await hand.trainer.get(job.name)
        assert (await state(hand, job), waiting.reason.code) == ("QUEUED", "UNSCHEDULABLE_GPU")
        assert waiting.last_sequence == job.last_sequence + 1

    async def test_the_queue_timeout_ends_what_was_launched_too(self, world: World) -> None:
        policy = POLICY.model_copy(update={"queue_timeout": 1000.0})
        async with by_hand(world, policy=policy) as hand:
            job = await hand.queued()
            hand.launcher.becomes(Phase.WAITING, KnownReason("UNSCHEDULABLE_GPU", "no node has a GPU", "add one"))
            await hand.settle()
            assert await state(hand, job) == "QUEUED"
            hand.follow_clock()
            await hand.after(1001)
            await hand.settle()
            failed = await hand.trainer.get(job.name)
            assert (await state(hand, job), failed.reason.code) == ("FAILED", "UNSCHEDULABLE_GPU")
            assert hand.launcher.running == []

    async def test_a_job_that_is_not_admitted_waits_and_says_so_once(self, hand: Hand) -> None:
        job = await hand.queued()
        hand.launcher.becomes(Phase.SUSPENDED)
        await hand.settle()
        waiting = await hand.trainer.get(job.name)
        assert (await state(hand, job), waiting.reason.code) == ("QUEUED", "PREEMPTED")
        assert waiting.last_sequence == job.last_sequence + 1

    async def test_a_configuration_error_is_final(self, hand: Hand) -> None:
        job = await hand.queued()
        hand.launcher.becomes(Phase.WAITING, KnownReason("CONFIG_ERROR", "a secret is missing", "create it"))
        await hand.settle()
        failed = await hand.trainer.get(job.name)
        assert (await state(hand, job), failed.reason.code) == ("FAILED", "CONFIG_ERROR")
        assert hand.launcher.running == []

    async def test_a_running_process_is_preparing(self, hand: Hand) -> None:
        job = await hand.queued()
        await hand.settle()
        assert await state(hand, job) == "PREPARING"

    async def test_a_worker_that_never_calls_is_replaced(self, hand: Hand) -> None:
        job = await hand.queued()
        await hand.settle()
        await hand.after(POLICY.launch_grace + 1)
        await hand.settle()
        job = await hand.trainer.get(job.name)
        assert (await state(hand, job), job.reason.code) == ("PENDING", "WORKER_LOST")
        assert hand.launcher.running == []


class TestWorking:
    async def test_the_first_call_binds_one_worker(self, hand: Hand) -> None:
        job = await hand.queued()
        worker = await hand.worker("w1")
        assert await state(hand, job) == "PREPARING"
        assert (await hand.worker("w1")).start.secret == worker.start.secret
        assert await reason_of(hand.worker("w2")) == "UNAUTHENTICATED"

    async def test_an_attempt_that_is_over_takes_no_worker(self, hand: Hand) -> None:
        await hand.queued()
        hand.launcher.vanishes()
        await hand.settle()
        assert await reason_of(hand.worker()) == "ATTEMPT_SUPERSEDED"

    async def test_the_worker_gets_all_it_needs(self, hand: Hand) -> None:
        job = await hand.queued()
        start = (await hand.worker()).start
        assert (start.job.name, start.attempt, list(start.classes)) == (job.name, 1, ["rbc", "wbc"])
        assert start.recipe.name == "recipes/scripted"
        assert start.manifest.get.url
        assert (start.acknowledged_sequence, start.resume_epoch) == (0, 0)

    async def test_downloads_and_checks_are_no_work_yet(self, hand: Hand) -> None:
        job = await hand.queued()
        worker = await hand.worker()
        await worker.report(phase="downloading")
        job = await hand.trainer.get(job.name)
        assert (await state(hand, job), job.progress.phase) == ("PREPARING", "downloading")

    async def test_the_first_report_of_work_is_running(self, hand: Hand) -> None:
        job, worker = await hand.running()
        assert await state(hand, job) == "RUNNING"
        assert job.HasField("start_time")
        assert (await worker.report(metrics(1))).directive == DIRECTIVE_CONTINUE

    async def test_a_repeated_report_is_acknowledged_and_not_stored_again(self, hand: Hand) -> None:
        job, worker = await hand.running()
        batch = [log(str(number)) for number in range(3)]
        await worker.report(*batch)
        before = (await hand.trainer.get(job.name)).last_sequence
        assert (await worker.report(*batch, first=2)).acknowledged_sequence == 4
        assert (await worker.report(*batch, log("new"), first=2)).acknowledged_sequence == 5
        assert (await hand.trainer.get(job.name)).last_sequence == before + 1

    async def test_a_report_with_a_gap_before_it_is_asked_for_again(self, hand: Hand) -> None:
        _, worker = await hand.running()
        assert (await worker.report(log("three"), first=3)).acknowledged_sequence == 1
        assert (await worker.report(log("two"), log("three"), first=2)).acknowledged_sequence == 3

    async def test_a_pause_while_publishing_is_answered_with_completing(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await worker.report(phase="publishing")
        assert await reason_of(pause(hand, job)) == "NOT_PAUSABLE"
        assert (await worker.report(phase="publishing")).directive == DIRECTIVE_CONTINUE

    async def test_a_worker_that_publishes_already_is_not_told_to_pause(self, hand: Hand) -> None:
        job, worker = await hand.running()
        await pause(hand, job)
        assert (await worker.report()).directive == DIRECTIVE_PAUSE
        assert (await worker.report(phase="publishing")).directive == DIRECTIVE_CONTINUE

    async def test_success_commits_one_result(self, hand: Hand) -> None:
        job, worker = await hand.running()
        made = await worker.success(hand.core)
        first, second = await worker.finish(success=made), await worker.finish(success=made)
        assert first == second == JobState.JOB_STATE_SUCCEEDED
        done = await hand.trainer.get(job.name)
        assert (done.result.sequence, done.result.metrics["test/map50"]) == (1, 0.9)
        assert done.result.artifacts[0].logical_key.startswith(f"{'a' * 32}/jobs/{job.uid}/1/checkpoint/")

    async def test_a_success_whose_artifacts_are_not_there_is_refused(self, hand: Hand) -> None:
        job, worker = await hand.running()
        made = await worker.success(hand.core)
        made.artifacts[0].size_bytes += 1
        assert await reason_of(worker.finish(success=made)) == "ARTIFACT_MISSING"
        assert await state(hand, job) == "RUNNING"

    async def test_bytes_that_are_not_what_they_say_are_refused(self, hand: Hand) -> None:
        _, worker = await hand.running()
        told = artifact_of("metrics", b"real")
        await hand.core.objects.put(await worker.target(told), b"fake")
        refused = (await worker.complete(told)).results[0].status
        assert refused.code == 9
        assert "arrived" in refused.message

    async def test_bytes_that_never_came_are_refused(self, hand: Hand) -> None:
        _, worker = await hand.running()
        refused = (await worker.complete(artifact_of("metrics", b"real"))).results[0].status
        assert refused.code == 9
        assert "nothing was uploaded" in refused.message


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
        hand.follow_clock()
        job = await hand.queued(deadline_seconds=100)
        await hand.worker()
        await hand.after(60)
        hand.launcher.ends(None)
        await hand.settle()
        await hand.after(POLICY.retry_delay + 1)
        worker = await hand.worker()
        await worker.report(log("second"))
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

    async def test_what_vanishes_while_cancelling_is_cancelled(self, hand: Hand) -> None:
        job, _ = await hand.running()
        await cancel(hand, job)
        hand.launcher.vanishes()
        await hand.settle()
        assert await state(hand, job) == "CANCELLED"

    async def test_a_suspended_worker_waits_and_another_takes_up_the_attempt(self, hand: Hand) -> None:
        job, worker = await hand.running()
        hand.launcher.becomes(Phase.SUSPENDED)
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
