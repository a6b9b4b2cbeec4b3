"""What a training would take is told before it is created, from earlier ones of the project, and from which."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.common.v1 import Problem
from bloomery.dataset.v1 import SplitStatistics
from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_TRAIN,
    EstimateJobRequest,
    Job,
    JobEstimate,
    JobEvent,
    JobKind,
    ListJobsRequest,
    PreflightReported,
)
from bloomery_kit.times import utc_now
from bloomery_trainer.estimating import USED, Earlier, Source, judged
from bloomery_trainer.model import Job as JobRow
from bloomery_trainer.model import Kind, Progress, Resources, Result, Spec, State, Success, Task
from tests.trainer.hand import FakeWorker, Hand, metrics
from tests.trainer.neighbours import DATASET

PREFLIGHT = PreflightReported(device="cpu", batch=4, peak_memory_bytes=1 << 30, seconds_per_step=2.0)


@pytest.fixture
def images(hand: Hand) -> None:
    version = hand.trainer.world.datasets.versions[DATASET]
    version.statistics.splits.append(SplitStatistics(split="train", image_count=40))
    version.warnings.append(Problem(code="NO_TEST_IMAGES", message="nothing to test on"))


async def estimate(hand: Hand, kind: JobKind.ValueType = JOB_KIND_TRAIN, **parameters: float) -> JobEstimate:
    job = Job(kind=kind, recipe="recipes/scripted", dataset_version=DATASET)
    job.parameters.update({"epochs": 10, **parameters})
    return await hand.trainer.jobs.EstimateJob(EstimateJobRequest(parent="projects/cells", job=job))


async def trained(hand: Hand, worker: FakeWorker, *, images: int, seconds: float) -> None:
    for epoch in (1, 2, 3):
        await worker.report(metrics(epoch, epoch_end=True, at=epoch * seconds))
    success = await worker.success(hand.core)
    success.details.update({"data": {"used": {"train": images}}})
    await worker.finish(success=success)
    hand.launcher.ends(0)
    await hand.settle()


@pytest.mark.usefixtures("images")
async def test_without_an_earlier_training_nothing_is_known(hand: Hand) -> None:
    found = await estimate(hand)
    assert (found.source, found.seconds, list(found.earlier_jobs)) == (JobEstimate.SOURCE_NONE, 0, [])
    assert [one.code for one in found.warnings] == ["NO_TEST_IMAGES"]
    assert found.job.effective_parameters["rate"] == 0.01
    assert not (await hand.trainer.jobs.ListJobs(ListJobsRequest(parent="projects/cells"))).jobs


@pytest.mark.usefixtures("images")
async def test_a_preflight_tells_the_steps_and_a_whole_training_more(hand: Hand) -> None:
    job, worker = await hand.running(parameters={"epochs": 3})
    await worker.report(JobEvent(preflight=PREFLIGHT))
    found = await estimate(hand)
    assert (found.source, list(found.earlier_jobs)) == (JobEstimate.SOURCE_PREFLIGHTS, [job.name])
    assert found.seconds == pytest.approx(2.0 / 4 * 40 * 10)
    await trained(hand, worker, images=20, seconds=30)
    found = await estimate(hand)
    assert (found.source, list(found.earlier_jobs)) == (JobEstimate.SOURCE_JOBS, [job.name])
    assert found.seconds == pytest.approx(30 * 40 / 20 * 10, rel=0.1)
    assert found.least_seconds == found.seconds == found.most_seconds


@pytest.mark.usefixtures("images")
async def test_bad_parameters_are_refused_as_at_the_creation(hand: Hand) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="rate: must be between 0 and 1") as refused:
        await estimate(hand, rate=7)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError, match="must be TRAIN"):
        await estimate(hand, kind=JOB_KIND_EVALUATE)


def spec(**parameters: float) -> Spec:
    return Spec(
        kind=Kind.TRAIN,
        recipe="recipes/r",
        task=Task.DETECT,
        parameters={},
        effective_parameters={"epochs": 5, "batch": 4, **parameters},
        resources=Resources(1, 0, 0),
        dataset_version=DATASET,
        base="small.pt",
        base_artifact=None,
    )


def earlier(images: int, epoch: float, epochs: int, beside: float) -> Earlier:
    now = utc_now()
    made = Success((), {}, {"data": {"used": {"train": images}}}, {})
    job = JobRow(
        uid="j",
        number=1,
        project="projects/cells",
        project_uid="p",
        job_id="j",
        display_name="",
        labels={},
        group="",
        spec=spec(),
        priority=0,
        creator="",
        state=State.SUCCEEDED,
        version=1,
        reason=None,
        attempt=1,
        failures=0,
        infra_failures=0,
        retry_delay=0.0,
        force=False,
        holder="",
        held=True,
        deleted=False,
        progress=Progress(epoch=epochs, durations=(epoch,) * epochs),
        last_sequence=1,
        oldest_sequence=1,
        worked_seconds=epoch * epochs + beside,
        create_time=now,
        queue_time=now,
        update_time=now,
        start_time=now,
        end_time=now,
    )
    return Earlier(job, Result(1, "j", made, now), PREFLIGHT)


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.floats(0.1, 1000), st.integers(1, 20), st.floats(0, 1000)),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 10_000),
    st.integers(1, 100),
)
def test_an_estimate_is_what_the_earlier_ones_took_for_as_many_images_and_epochs(
    before: list[tuple[int, float, int, float]], images: int, epochs: int
) -> None:
    # Property: the estimate lies between the quickest and the slowest of the newest, and is exact where one is alike.
    found = judged(spec(epochs=epochs), images, [earlier(*one) for one in before])
    times = [epoch * images / trained * epochs + beside for trained, epoch, _, beside in before[:USED]]
    assert found.source is Source.JOBS
    assert found.least == pytest.approx(min(times))
    assert found.most == pytest.approx(max(times))
    assert found.least <= found.seconds <= found.most
    assert found.memory_bytes == 1 << 30
    assert judged(spec(epochs=epochs, batch=8), images, [earlier(*before[0])]).memory_bytes == 0
