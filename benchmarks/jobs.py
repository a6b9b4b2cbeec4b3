"""Listing thousands of finished jobs page by page, and a reconciler's pass over hundreds of running ones."""

import asyncio
import re
import statistics
import time
import urllib.request
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bloomery.training.v1 import (
    CancelJobRequest,
    CreateJobRequest,
    JobServiceStub,
    ListJobsRequest,
    WorkerServiceStub,
)
from bloomery_kit.clients import channel
from bloomery_kit.database import Database
from bloomery_kit.names import new_uid
from bloomery_trainer.store import jobs as store
from harness.data import small_version
from harness.measure import Options, Table, median_and_range, milliseconds, options, percentile, report, say
from harness.server import Server, running_server, scratch
from harness.workers import IdleWorkers, Worker, idle_workers, running_jobs, small_job

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

FINISHED = 10_000
RUNNING = 500
FEW = 200
PAGE = 100
ENDS = 10
PASS_LIMIT = 1.0
HEARTBEAT = 10.0
OBSERVED_SECONDS = 40.0


@dataclass(frozen=True)
class Listing:
    """Seconds of each page, in order, of one walk through all jobs."""

    pages: list[float]

    def first(self) -> float:
        """Median of the first pages."""
        return statistics.median(self.pages[:ENDS])

    def last(self) -> float:
        """Median of the last pages."""
        return statistics.median(self.pages[-ENDS:])


async def walk(jobs: "JobServiceAsyncStub", parent: str) -> Listing:
    """List all jobs."""
    request, pages = ListJobsRequest(parent=parent, page_size=PAGE), []
    while True:
        started = time.monotonic()
        page = await jobs.ListJobs(request)
        pages.append(time.monotonic() - started)
        if not page.next_page_token:
            return Listing(pages)
        request.page_token = page.next_page_token


async def multiply(server: Server, jobs: "JobServiceAsyncStub", version: str, count: int) -> None:
    """Cancel one job, and have the service's own store write it down `count` times more."""
    created = await jobs.CreateJob(
        CreateJobRequest(parent=version.partition("/datasets/")[0], job=small_job(version), job_id=f"first-{new_uid()}")
    )
    await jobs.CancelJob(CancelJobRequest(name=created.name))
    db = Database.connect(f"sqlite+aiosqlite:///{server.folder}/trainer.db")
    async with db.read() as tx:
        template = await store.find(tx, created.uid)
    assert template is not None
    assert template.state.is_terminal
    for start in range(0, count, PAGE):
        async with db.write() as tx:
            for _ in range(start, min(start + PAGE, count)):
                uid = new_uid()
                await store.insert(tx, replace(template, uid=uid, job_id=f"old-{uid}", attempt=0))
    await db.close()


async def listings(server: Server, version: str, chosen: Options) -> tuple[list[Listing], list[Listing]]:
    """Walks through a few jobs, and through all of them."""
    parent = version.partition("/datasets/")[0]
    async with channel(server.endpoint, token=server.token) as connection:
        jobs = JobServiceStub(connection)
        await multiply(server, jobs, version, FEW)
        few = [await walk(jobs, parent) for _ in range(chosen.rounds)]
        total = 1000 if chosen.quick else FINISHED
        say(f"writing {total} finished jobs")
        await multiply(server, jobs, version, total - FEW - 2)
        return few, [await walk(jobs, parent) for _ in range(chosen.rounds)]


@dataclass(frozen=True)
class Passes:
    """The reconciler's own measure of its passes: how many, and seconds of all together; counts by upper bounds."""

    count: float
    seconds: float
    buckets: dict[float, float]

    def __sub__(self, other: "Passes") -> "Passes":
        """What has happened since."""
        buckets = {bound: count - other.buckets[bound] for bound, count in self.buckets.items()}
        return Passes(self.count - other.count, self.seconds - other.seconds, buckets)

    def slowest(self) -> float:
        """A bound that no pass has exceeded."""
        return min(bound for bound, count in self.buckets.items() if count >= self.count)


def passes(server: Server) -> Passes:
    """Read the server's metrics."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        text = answer.read().decode()
    name = "bloomery_reconciler_pass_seconds"
    buckets = {float(bound): float(count) for bound, count in re.findall(rf'{name}_bucket{{le="(.*?)"}} (\S+)', text)}
    (count,), (seconds,) = (re.findall(rf"^{name}_{what} (\S+)", text, re.MULTILINE) for what in ("count", "sum"))
    return Passes(float(count), float(seconds), buckets)


async def beat(worker: Worker, offset: float, until: float) -> None:
    """Report that a worker lives."""
    await asyncio.sleep(offset)
    while time.monotonic() < until:
        await worker.report()
        await asyncio.sleep(HEARTBEAT)


async def observe(server: Server, idle: IdleWorkers, version: str, chosen: Options) -> Passes:
    """Passes while many jobs run."""
    count, seconds = (50, 10.0) if chosen.quick else (RUNNING, OBSERVED_SECONDS)
    target = await asyncio.to_thread(worker_target, server)
    async with channel(server.endpoint, token=server.token) as people, channel(target) as connection:
        say(f"starting {count} jobs")
        workers = await running_jobs(JobServiceStub(people), [WorkerServiceStub(connection)], idle, version, count)
        # The passes that still see news are not the ones to measure.
        await asyncio.sleep(5)
        before = passes(server)
        until = time.monotonic() + seconds
        await asyncio.gather(*(beat(each, index * HEARTBEAT / count, until) for index, each in enumerate(workers)))
        return passes(server) - before


def worker_target(server: Server) -> str:
    """`host:port` where workers call."""
    found = re.search(r'"worker_port": (\d+)', (server.folder / "identity.json").read_text())
    assert found is not None
    return f"127.0.0.1:{found[1]}"


def listing_table(few: list[Listing], many: list[Listing]) -> Table:
    """Pages at both ends."""
    everything = [page for walk in many for page in walk.pages]
    rows = [
        ("a page when there are few jobs", milliseconds(statistics.median(walk.pages[0] for walk in few))),
        ("of the first ten pages", milliseconds(statistics.median(walk.first() for walk in many))),
        ("of the last ten pages", milliseconds(statistics.median(walk.last() for walk in many))),
        ("of all pages, 99th percentile", milliseconds(percentile(everything, 99))),
        ("last / first", median_and_range([walk.last() / walk.first() for walk in many])),
    ]
    jobs = len(many[0].pages) * PAGE
    return Table(f"pages of {PAGE} out of {jobs:,} finished jobs, {len(many)} walks", ("what", "median"), rows)


def pass_table(seen: Passes, running: int) -> Table:
    """Time of a pass."""
    rows = [
        ("passes seen", f"{seen.count:.0f}", ""),
        ("mean", milliseconds(seen.seconds / seen.count), f"{PASS_LIMIT:g} s"),
        ("none took longer than", f"{seen.slowest():g} s", f"{PASS_LIMIT:g} s"),
    ]
    return Table(f"a reconciler's pass over {running} running jobs", ("what", "time", "limit"), rows)


async def measure(server: Server, idle: IdleWorkers, version: str, chosen: Options) -> list[Table]:
    """Both measurements on one server."""
    few, many = await listings(server, version, chosen)
    seen = await observe(server, idle, version, chosen)
    return [listing_table(few, many), pass_table(seen, 50 if chosen.quick else RUNNING)]


def main() -> None:
    """Measure and report."""
    chosen = options("listing and reconciling jobs", rounds=5)
    with scratch() as place, idle_workers(place) as idle, running_server(place, idle.settings) as server:
        version = small_version(server, place)
        report("jobs", asyncio.run(measure(server, idle, version, chosen)), chosen)


if __name__ == "__main__":
    main()
