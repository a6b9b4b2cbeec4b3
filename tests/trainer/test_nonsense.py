"""Requests that nobody means: each gets an answer or a reason, never an internal error; on both databases."""

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from bloomery.training.v1 import (
    CancelJobRequest,
    GetLogsRequest,
    Job,
    JobEvent,
    ListJobEventsRequest,
    ListJobResultsRequest,
    ListJobsRequest,
    LogLine,
    MetricsReported,
    Progress,
    SystemReported,
    job_service_pb2,
    worker_service_pb2,
)
from tests import databases
from tests.questions import questions_about
from tests.trainer.bench import AS_SERVICE, TOKEN, World, reason_of
from tests.trainer.hand import Hand, by_hand, log

JOBS = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
WORKERS = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(params=databases.BOTH)
def database_url(request: pytest.FixtureRequest, world: World) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{world.folder}/training.db"
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
async def hand(world: World, database_url: str) -> AsyncIterator[Hand]:
    async with by_hand(world, database_url=database_url, watch_heartbeat=0.05, watch_age=0.05) as hand:
        yield hand


async def test_people_get_an_answer_or_a_reason(hand: Hand) -> None:
    job, _ = await hand.running(job_id="mine")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hand.trainer.host.port}") as channel:
        asking = questions_about(channel, TOKEN, JOBS, seed=3)
        asking.memory.take_in(job)
        await asking.look_around()
        await asking.play(300)
    assert asking.asked.problems == []
    assert asking.asked.of(JOBS.full_name)["OK"] > 60


async def test_workers_get_an_answer_or_a_reason(hand: Hand) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hand.trainer.worker_host.port}") as channel:
        asking = questions_about(channel, "", WORKERS, seed=4)
        for _ in range(4):
            _, worker = await hand.running()
            asking.memory.take_in(worker.start)
            for asker in asking.askers.values():
                asker.token = worker.start.secret
            await asking.play(30)
            hand.launcher.ends(0)
            await hand.settle()
    assert asking.asked.problems == []
    assert asking.asked.of(WORKERS.full_name)["OK"] > 10


async def test_what_databases_cannot_store_is_refused(hand: Hand) -> None:
    job, worker = await hand.running()
    jobs = hand.trainer.jobs
    assert await reason_of(hand.trainer.create(display_name="a\0b")) == "INVALID_ARGUMENT"
    assert await reason_of(hand.trainer.create(labels={"a\0": "b"})) == "INVALID_ARGUMENT"
    assert await reason_of(hand.trainer.create(request_id="r\0")) == "INVALID_ARGUMENT"
    odd = await hand.trainer.create(parameters={"script": "x\0"}, deadline_seconds=2**63 - 1)
    assert odd.effective_parameters["script"] == "x\0"
    assert await reason_of(jobs.ListJobs(ListJobsRequest(parent="projects/-", filter="id:\0"))) == "INVALID_ARGUMENT"
    assert await reason_of(jobs.CancelJob(CancelJobRequest(name=job.name, request_id="\0"))) == "INVALID_ARGUMENT"
    await worker.report(log("nul \0 inside"), phase="p\0")
    assert await answer(hand.trainer.watch(job.name, after=2**63 - 1)) is grpc.StatusCode.OUT_OF_RANGE
    results = await jobs.ListJobResults(ListJobResultsRequest(after_sequence=2**63 - 1), metadata=AS_SERVICE)
    assert list(results.results) == []


async def test_measurements_are_numbers(hand: Hand) -> None:
    job, worker = await hand.running()
    odd = {"nan": math.nan, "infinite": math.inf, "loss": 0.5}
    await worker.report(JobEvent(metrics=MetricsReported(epoch=1, step=1, values=odd)))
    await worker.report(JobEvent(progress=Progress(fraction=math.nan, epochs=-1, steps=-5, metrics=odd)))
    await worker.report(JobEvent(system=SystemReported(cpus=math.inf, gpu_utilization=0.5)))
    known = (await hand.trainer.get(job.name)).progress
    assert (dict(known.metrics), known.fraction, known.steps) == ({"loss": 0.5}, 0.5, 0)
    events = await measured(hand, job)
    assert events[2].system == SystemReported(gpu_utilization=0.5)
    assert dict(events[0].metrics.values) == dict(events[1].progress.metrics) == {"loss": 0.5}


async def test_a_job_measures_under_so_many_names_and_says_once_that_more_are_left_out(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.report(JobEvent(metrics=MetricsReported(epoch=1, step=1, values={"n" * 129: 1.0, "loss": 0.5})))
    for number in range(3):
        many = {f"{number}/{index:03}": 1.0 for index in range(150)}
        await worker.report(JobEvent(metrics=MetricsReported(epoch=1, step=2, values=many)))
    await worker.report(JobEvent(metrics=MetricsReported(epoch=1, step=3, values={"loss": 0.25})))
    await worker.finish(success=await worker.success(hand.core))
    told = {name for event in await measured(hand, job) for name in event.metrics.values}
    known = dict((await hand.trainer.get(job.name)).progress.metrics)
    assert (told, len(told), known["loss"]) == (set(known), 200, 0.25)
    assert await warnings(hand, job) == [
        f"'{'n' * 128}', and whatever else exceeds 200 measurements with names of 128 characters, is not kept"
    ]


async def test_a_results_measurements_are_as_few(hand: Hand) -> None:
    job, worker = await hand.running()
    success = await worker.success(hand.core)
    success.metrics.update({f"test/{index:03}": 1.0 for index in range(300)} | {"nan": math.nan})
    await worker.finish(success=success)
    done = await hand.trainer.get(job.name)
    assert len(done.result.metrics) == len(done.progress.metrics) == 200
    (said,) = await warnings(hand, job)
    assert "200 measurements" in said


async def measured(hand: Hand, job: Job) -> Sequence[JobEvent]:
    request = ListJobEventsRequest(parent=job.name, filter="metrics", page_size=1000)
    return (await hand.trainer.jobs.ListJobEvents(request)).events


async def warnings(hand: Hand, job: Job) -> list[str]:
    request = GetLogsRequest(name=job.name, minimum_level=LogLine.LEVEL_WARNING)
    return [entry.line.message for entry in (await hand.trainer.jobs.GetLogs(request)).entries]


async def answer(call: Any) -> grpc.StatusCode | None:
    """The code of a call, None where it went well."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None
