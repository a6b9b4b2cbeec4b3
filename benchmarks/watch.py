"""Watching jobs: from an event's commit to its receipt, with many watchers, on one replica and across two.

Workers and watchers are one process on the same machine; the trainer's replicas are others. An event is committed after
its report was sent and before the report was answered, so the delay is told from both moments.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bloomery.training.v1 import JobServiceStub, WorkerServiceStub
from bloomery_kit.clients import channel
from harness.data import small_version
from harness.measure import (
    Options,
    Table,
    median_and_range,
    milliseconds,
    options,
    percentile,
    report,
    resident_bytes,
    say,
)
from harness.server import Server, running_server, scratch
from harness.trainers import Trainer, running_trainer
from harness.watchers import Observations, watching
from harness.workers import STEPS, IdleWorkers, Worker, idle_workers, running_jobs
from real_parts.postgres import PostgresServer, run_postgres

JOBS = 20
WATCHERS = 200
MANY_WATCHERS = 1000
REPORT_INTERVAL = 2.0
SAMPLES = 6
LIMIT = 0.25
LIMIT_ACROSS = 0.5
RATE_LIMIT = 200
FIRST_CORE = (0,)


async def report_for(workers: Sequence[Worker], seconds: float, seen: Observations, *, pause: float) -> int:
    """Let all workers report for a while, each once in `pause` seconds; the number of reports."""
    until = time.monotonic() + seconds

    async def keep_reporting(worker: Worker, offset: float) -> int:
        await asyncio.sleep(offset)
        count = 0
        while time.monotonic() < until:
            sent = await worker.report_steps()
            seen.answered[sent] = time.monotonic()
            count += 1
            await asyncio.sleep(max(0.0, sent + pause - time.monotonic()))
        return count

    offsets = (index * pause / len(workers) for index in range(len(workers)))
    return sum(await asyncio.gather(*map(keep_reporting, workers, offsets)))


@asynccontextmanager
async def at_work(trainers: Sequence[Trainer], given: "Bench") -> AsyncIterator[list[Worker]]:
    """Running jobs, whose workers report to all replicas."""
    async with AsyncExitStack() as stack:
        people = await stack.enter_async_context(channel(trainers[0].target, token=given.server.token))
        workers = [await stack.enter_async_context(channel(one.worker_target)) for one in trainers]
        stubs = [WorkerServiceStub(one) for one in workers]
        yield await running_jobs(JobServiceStub(people), stubs, given.idle, given.version, JOBS)


@dataclass(frozen=True)
class Watched:
    """Seconds of delay from sending and from the answer, and the watched replica's memory over time in MiB."""

    watchers: int
    sent: list[float]
    answered: list[float]
    resident: list[float]


async def watched(trainers: Sequence[Trainer], given: "Bench", *, count: int, seconds: float) -> Watched:
    """Open watches at the last replica while workers report to all, and look at its memory now and then."""
    seen, watched_at = Observations(), trainers[-1]
    async with at_work(trainers, given) as workers:
        names = [workers[index % JOBS].job for index in range(count)]
        before = resident_bytes(watched_at.pid)
        async with watching(watched_at.target, given.server.token, names, seen):
            # The first round of reports warms everything up.
            await report_for(workers, 2 * REPORT_INTERVAL, seen, pause=REPORT_INTERVAL)
            since, resident = time.monotonic(), [before, resident_bytes(watched_at.pid)]
            for _ in range(SAMPLES):
                await report_for(workers, seconds / SAMPLES, seen, pause=REPORT_INTERVAL)
                resident.append(resident_bytes(watched_at.pid))
            await asyncio.sleep(1)
    sent, answered = seen.delays(since)
    return Watched(count, sent, answered, [size / (1 << 20) for size in resident])


async def accepted(trainers: Sequence[Trainer], given: "Bench", *, seconds: float) -> float:
    """Reports in a second when every worker reports as soon as it was answered."""
    async with at_work(trainers, given) as workers:
        await report_for(workers, 1.0, Observations(), pause=0)
        return await report_for(workers, seconds, Observations(), pause=0) / seconds


@dataclass
class Bench:
    """What all measurements need."""

    place: Path
    server: Server
    idle: IdleWorkers
    version: str
    postgres: PostgresServer
    databases: int = 0

    @asynccontextmanager
    async def trainers(
        self, count: int, *, postgres: bool, cores: Collection[int] = ()
    ) -> AsyncIterator[Sequence[Trainer]]:
        """Replicas on a new database, the first of them leading."""
        self.databases += 1
        folder = self.place / f"trainers-{self.databases}"
        folder.mkdir()
        url = await self._postgres_url() if postgres else f"sqlite+aiosqlite:///{folder}/trainer.db"
        with ExitStack() as stack:
            yield [
                stack.enter_context(running_trainer(folder, url, self.server, self.idle, cores=cores))
                for _ in range(count)
            ]

    async def _postgres_url(self) -> str:
        name = f"bench{self.databases}"
        connection = await asyncpg.connect(self.postgres.url("postgres", driver="postgresql"))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.postgres.url(name)


@contextmanager
def bench() -> Iterator[Bench]:
    """A server with a dataset version, and everything else that trainers need."""
    with (
        scratch() as place,
        idle_workers(place) as idle,
        running_server(place) as server,
        run_postgres(place) as postgres,
    ):
        yield Bench(place, server, idle, small_version(server, place), postgres)


@dataclass(frozen=True)
class Figures:
    """Watches by what was measured, and reports a second by database."""

    watches: dict[str, Watched]
    rates: dict[str, list[float]]


async def measure(given: Bench, chosen: Options) -> Figures:
    """Everything, one after the other."""
    return Figures(await measured_watches(given, chosen), await measured_rates(given, chosen))


async def measured_watches(given: Bench, chosen: Options) -> dict[str, Watched]:
    """Delays and memory, with few and with many watchers."""
    count, many, short, long = (20, 50, 6.0, 6.0) if chosen.quick else (WATCHERS, MANY_WATCHERS, 30.0, 90.0)
    found = {}
    for name, replicas, postgres, watchers, seconds in (
        ("one replica, SQLite", 1, False, count, short),
        ("one replica, PostgreSQL", 1, True, count, short),
        ("two replicas, PostgreSQL", 2, True, count, short),
        ("one replica, SQLite, many", 1, False, many, long),
    ):
        say(f"{name}: {watchers} watchers")
        async with given.trainers(replicas, postgres=postgres) as trainers:
            found[name] = await watched(trainers, given, count=watchers, seconds=seconds)
    return found


async def measured_rates(given: Bench, chosen: Options) -> dict[str, list[float]]:
    """Reports a second on one core, the databases in turn."""
    rates: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
    for number in range(chosen.rounds):
        say(f"reports on one core, round {number + 1} of {chosen.rounds}")
        for name, found in rates.items():
            async with given.trainers(1, postgres=name == "PostgreSQL", cores=FIRST_CORE) as trainers:
                found.append(await accepted(trainers, given, seconds=2.0 if chosen.quick else 10.0))
    return rates


def delay_table(watches: dict[str, Watched]) -> Table:
    """Delays, and how much was received."""
    rows = []
    for name, one in watches.items():
        limit = LIMIT_ACROSS if "two" in name else LIMIT
        rows.append(
            (
                name,
                f"{one.watchers}",
                f"{len(one.sent):,}",
                *(milliseconds(percentile(values, p)) for values in (one.sent, one.answered) for p in (50, 99)),
                milliseconds(limit),
            )
        )
    columns = (
        "trainer",
        "watchers",
        "measured events",
        "sent p50",
        "sent p99",
        "answer p50",
        "answer p99",
        "limit p99",
    )
    note = (
        f"{JOBS} jobs, each reporting {STEPS} steps every {REPORT_INTERVAL:g} s. From the sending of a report, and from"
        " its answer, to the receipt of its events: the commit lies between."
    )
    return Table("from an event's commit to its receipt", columns, rows, note)


def memory_table(watches: dict[str, Watched]) -> Table:
    """Resident memory of the replica that is watched."""
    columns = ("trainer", "watchers", "before", "opened", *(f"{part}/{SAMPLES}" for part in range(1, SAMPLES + 1)))
    rows = [(name, f"{one.watchers}", *(f"{size:.0f}" for size in one.resident)) for name, one in watches.items()]
    return Table("resident memory of the watched replica, MiB, over the time of watching", columns, rows)


def rate_table(rates: dict[str, list[float]]) -> Table:
    """Reports a second."""
    rows = [(name, median_and_range(found, 0), f"{RATE_LIMIT}") for name, found in rates.items()]
    columns = ("database", "reports/s, median (range)", "limit")
    note = f"Each report has {2 * STEPS} events; {JOBS} workers report as soon as they are answered."
    return Table("reports accepted by a replica on one core", columns, rows, note)


def main() -> None:
    """Measure and report."""
    chosen = options("watching jobs", rounds=3)
    with bench() as given:
        figures = asyncio.run(measure(given, chosen))
    tables = [delay_table(figures.watches), memory_table(figures.watches), rate_table(figures.rates)]
    report("watch", tables, chosen)


if __name__ == "__main__":
    main()
