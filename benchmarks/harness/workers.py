"""Attempts without training: the launcher starts idle processes, and this process says what their workers would say."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery.training.v1 import (
    JOB_KIND_TRAIN,
    CreateJobRequest,
    Job,
    JobEvent,
    MetricsReported,
    Progress,
    ReportProgressRequest,
    Resources,
    StartAttemptRequest,
)

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub
    from bloomery.training.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

SENT = "bench/sent"
STEPS = 4
_LAUNCH_SECONDS = 180.0
_IDLE = """#!/bin/sh
case "$3" in *.catalogue) exec "{worker}" "$@";; esac
printf '%s' "$BLOOMERY_ATTEMPT_TOKEN" >"{folder}/$$.part" && mv "{folder}/$$.part" "{folder}/$$.token"
exec sleep 1800
"""
_CALLS_AT_ONCE = 20
_WORKER = Path(__file__).parents[2] / ".venv-worker/bin/python"


class IdleWorkers:
    """What the launcher starts in the worker's place: processes that leave their token in a folder, and sleep."""

    def __init__(self, place: Path) -> None:
        self._tokens = place / "tokens"
        self._tokens.mkdir()
        self._taken: set[str] = set()
        self.python = place / "idle-worker"
        self.python.write_text(_IDLE.format(folder=self._tokens, worker=_WORKER))
        self.python.chmod(0o755)

    @property
    def settings(self) -> dict[str, str]:
        """For the trainer's environment: these workers, and a machine that has room for thousands."""
        return {
            "BLOOMERY_LAUNCHER__WORKER_PYTHON": str(self.python),
            "BLOOMERY_LAUNCHER__MACHINE__CPUS": "10000",
            "BLOOMERY_LAUNCHER__MACHINE__MEMORY_BYTES": str(1 << 50),
        }

    async def tokens(self, count: int) -> list[str]:
        """Wait for so many new attempts."""
        deadline = time.monotonic() + _LAUNCH_SECONDS
        while len(new := [path for path in self._tokens.glob("*.token") if path.name not in self._taken]) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {len(new)} of {count} attempts were launched")
            await asyncio.sleep(0.2)
        self._taken |= {path.name for path in new}
        return [path.read_text() for path in new]

    def kill(self) -> None:
        """End the processes that are left."""
        for path in self._tokens.glob("*.token"):
            pid = int(path.stem)
            with suppress(OSError):
                # The number may be somebody else's by now.
                if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def idle_workers(place: Path) -> Iterator[IdleWorkers]:
    """Idle workers that are gone in the end."""
    workers = IdleWorkers(place)
    try:
        yield workers
    finally:
        workers.kill()


@dataclass
class Worker:
    """One attempt, and how far its worker's own numbers are."""

    stub: "WorkerServiceAsyncStub"
    job: str
    secret: str
    sequence: int = 0

    async def report(self, events: Sequence[JobEvent] = ()) -> None:
        """Send events; without any it is a sign of life."""
        request = ReportProgressRequest(first_sequence=self.sequence + 1, events=events, phase="training")
        await self.stub.ReportProgress(request, metadata=(("authorization", f"Bearer {self.secret}"),))
        self.sequence += len(events)

    async def report_steps(self) -> float:
        """Send what a worker has after two seconds of training; the time that is noted in the events."""
        sent = time.monotonic()
        await self.report([event for step in range(STEPS) for event in step_events(self.sequence + step, sent)])
        return sent


def step_events(step: int, sent: float) -> tuple[JobEvent, JobEvent]:
    """The events of one step, with the time of sending among the metrics."""
    progress = Progress(phase="training", epoch=1, epochs=100, step=step, steps=1000, fraction=0.1, device="cpu")
    losses = {"train/box_loss": 1.5, "train/cls_loss": 2.5, "train/dfl_loss": 1.1, "lr": 0.001, SENT: sent}
    return JobEvent(progress=progress), JobEvent(metrics=MetricsReported(epoch=1, step=step, values=losses))


async def running_jobs(
    jobs: "JobServiceAsyncStub",
    workers: Sequence["WorkerServiceAsyncStub"],
    idle: IdleWorkers,
    version: str,
    count: int,
) -> list[Worker]:
    """Create jobs on a dataset version and bring them to work; `workers` are the replicas, which are called in turn."""
    gate = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def create() -> None:
        async with gate:
            await jobs.CreateJob(CreateJobRequest(parent=version.partition("/datasets/")[0], job=small_job(version)))

    async def begin(token: str, stub: "WorkerServiceAsyncStub") -> Worker:
        async with gate:
            start = await stub.StartAttempt(StartAttemptRequest(token=token, worker_id=token[:50], host="bench"))
            worker = Worker(stub, start.job.name, start.secret)
            await worker.report_steps()
            return worker

    await asyncio.gather(*(create() for _ in range(count)))
    return await asyncio.gather(*map(begin, await idle.tokens(count), cycle(workers)))


def small_job(version: str) -> Job:
    """A job that takes next to nothing of the machine."""
    resources = Resources(cpus=0.01, memory_bytes=1)
    return Job(
        kind=JOB_KIND_TRAIN,
        recipe="recipes/yolo-detect",
        dataset_version=version,
        base="scratch",
        resources=resources,
    )
