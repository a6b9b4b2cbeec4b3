"""The rows of the state table from creation to success, with duplicates and races; all is moved by hand."""

from dataclasses import replace

import pytest

from bloomery.training.v1 import (
    DIRECTIVE_CONTINUE,
    DIRECTIVE_PAUSE,
    JOB_KIND_TRAIN,
    AttemptFailure,
    CreateJobRequest,
    Job,
    JobState,
    ListJobResultsRequest,
    Reason,
)
from bloomery.training.v1 import Resources as Asked
from bloomery_kit.errors import PermissionDenied, Unavailable
from bloomery_trainer.launcher import JobFacts, Phase
from bloomery_trainer.model import Kind, Resources
from bloomery_trainer.model import Reason as KnownReason
from tests.trainer.bench import AS_SERVICE, World, reason_of
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import POLICY, Hand, artifact_of, by_hand, log, metrics
from tests.trainer.moves import pause, state
from tests.trainer.neighbours import DATASET


class TestWaiting:
    async def test_a_new_job_is_pending_and_holds_its_dataset(self, hand: Hand) -> None:
        job = await hand.trainer.create()
        assert await state(hand, job) == "PENDING"
        assert hand.trainer.world.datasets.holders == {(DATASET, f"projects/cells/jobs/{job.uid}")}

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
        assert hand.trainer.world.datasets.holders == {(DATASET, f"projects/cells/jobs/{job.uid}")}

    @pytest.mark.parametrize(
        ("fault", "passes"),
        [(PermissionDenied("not you"), 1), (RuntimeError("broken"), 1), (Unavailable("DOWN", "not now"), 3)],
        ids=["refused", "broken", "away"],
    )
    async def test_a_claim_that_fails_each_time_holds_up_no_other_job(
        self, hand: Hand, fault: Exception, passes: int
    ) -> None:
        annotation = hand.trainer.world.annotation
        annotation.down = True
        for name in ("first", "second", "third", "last"):
            await hand.trainer.create(job_id=name)
        annotation.down, annotation.faults = False, {"jobs/first": fault, "jobs/third": fault}
        await hand.reconcile(passes)
        assert set(annotation.titles.values()) == {"jobs/second", "jobs/last"}

    async def test_an_owner_that_is_away_is_asked_once_a_pass(self, hand: Hand) -> None:
        annotation = hand.trainer.world.annotation
        annotation.down = True
        for _ in range(3):
            await hand.trainer.create()
        asked = annotation.asked
        await hand.reconcile(2)
        assert annotation.asked == asked + 2

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

    async def test_what_can_never_start_is_told_when_it_is_created(self, world: World) -> None:
        async with by_hand(world, launcher=FakeLauncher(Resources(2, 1 << 40, 0))) as hand:
            greedy = await hand.trainer.create(resources={"gpus": 1})
            assert (await state(hand, greedy), greedy.reason.code) == ("PENDING", "UNSCHEDULABLE_GPU")
            large = await hand.trainer.create(resources={"memory_bytes": 1 << 41})
            assert large.reason.code == "UNSCHEDULABLE_MEMORY"

    async def test_cores_beyond_the_machines_are_told_to_be_cut(self, world: World) -> None:
        async with by_hand(world, launcher=FakeLauncher(Resources(2, 1 << 40, 0))) as hand:
            job = await hand.trainer.create(resources={"cpus": 64})
            assert (job.reason.code, "64 cores and gets the 2" in job.reason.message) == ("CREATED", True)

    async def test_the_queue_timeout_ends_the_waiting(self, world: World) -> None:
        policy = POLICY.model_copy(update={"queue_timeout": 10.0})
        async with by_hand(world, launcher=FakeLauncher(Resources(1, 1, 0)), policy=policy) as hand:
            job = await hand.trainer.create()
            await hand.settle()
            assert await state(hand, job) == "PENDING"
            await hand.after(11)
            assert await state(hand, job) == "FAILED"


class TestLaunching:
    async def test_a_launcher_is_told_what_it_may_route_and_label_by(self, hand: Hand) -> None:
        job, worker = await hand.running(priority=3, deadline_seconds=100, resources=Asked(cpus=1.5, gpus=2))
        await hand.unseen(30)
        await worker.finish(failure=AttemptFailure(reason=Reason(code="STALLED", message="no step", retriable=True)))
        hand.launcher.ends(1)
        await hand.after(POLICY.retry_delay_max)
        await hand.settle()
        first, second = hand.launcher.orders
        facts = JobFacts(
            job.uid, "projects/cells", job.name, Kind.TRAIN, "recipes/scripted", 3, 100, Resources(1.5, 64 << 20, 2)
        )
        assert (first.job, second.job) == (facts, replace(facts, deadline_seconds=70))
        assert first.environment == second.environment == {"BLOOMERY_TRAINER_TARGET": hand.core.worker_target()}
        assert list(first.secrets) == ["BLOOMERY_ATTEMPT_TOKEN"]
        assert first.secrets != second.secrets

    async def test_the_attempt_is_written_before_it_is_launched(self, hand: Hand) -> None:
        hand.launcher.crash = "before"
        job = await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.run_pass()
        assert (await state(hand, job), (await hand.trainer.get(job.name)).attempt) == ("QUEUED", 1)

    async def test_a_crash_before_the_launch_is_repaired(self, hand: Hand) -> None:
        hand.launcher.crash = "before"
        await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.run_pass()
        hand.launcher.crash = "never"
        await hand.settle()
        assert [order.attempt for order in hand.launcher.orders] == [1]
        assert (await hand.worker()).start.attempt == 1

    async def test_a_crash_after_the_launch_is_adopted(self, hand: Hand) -> None:
        hand.launcher.crash = "after"
        job = await hand.trainer.create()
        with pytest.raises(KeyboardInterrupt):
            await hand.run_pass()
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
        assert start.resume_epoch == 0

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

    @pytest.mark.parametrize("step", ["results.insert", "jobs.move"])
    async def test_the_result_and_the_state_are_committed_together(
        self, hand: Hand, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*_: object, **__: object) -> None:
            raise Unavailable("DATABASE_UNREACHABLE", "the connection broke")

        job, worker = await hand.running()
        made = await worker.success(hand.core)
        with monkeypatch.context() as patch:
            patch.setattr(f"bloomery_trainer.store.{step}", fails)
            assert await reason_of(worker.finish(success=made)) == "DATABASE_UNREACHABLE"
        assert await state(hand, job) == "RUNNING"
        assert not (await hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)).results
        assert await worker.finish(success=made) == JobState.JOB_STATE_SUCCEEDED
        assert (await hand.trainer.get(job.name)).result.sequence == 1

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
