"""Watches of jobs, opened by the hundred, that note when what arrives."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from bloomery.training.v1 import JobServiceStub, WatchJobRequest
from harness.workers import SENT

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

WATCHERS_OF_A_CONNECTION = 10


@dataclass
class Observations:
    """Who received what when; reports are told apart by the moment of sending. All by the monotonic clock."""

    received: list[tuple[float, float]] = field(default_factory=list)
    answered: dict[float, float] = field(default_factory=dict)

    def delays(self, since: float) -> tuple[list[float], list[float]]:
        """Seconds from sending, and from the answer, to receipt, of reports that were sent after `since`."""
        known = [(sent, at) for sent, at in self.received if sent > since and sent in self.answered]
        from_answer = [max(0.0, at - self.answered[sent]) for sent, at in known]
        return [at - sent for sent, at in known], from_answer


@dataclass(frozen=True)
class Watcher:
    """Somebody who watches a job through a connection that few others share."""

    jobs: "JobServiceAsyncStub"
    name: str
    token: str
    seen: Observations
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        """Note what comes, until cancelled."""
        request, metadata = WatchJobRequest(name=self.name), (("authorization", f"Bearer {self.token}"),)
        async for message in self.jobs.WatchJob(request, metadata=metadata):
            self.opened.set()
            sent = message.event.metrics.values.get(SENT)
            if sent is not None:
                self.seen.received.append((sent, time.monotonic()))


@asynccontextmanager
async def watching(target: str, token: str, names: Sequence[str], seen: Observations) -> AsyncIterator[None]:
    """Open a watch for each name."""
    connections = [
        grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(0, len(names), WATCHERS_OF_A_CONNECTION)
    ]
    watchers = [
        Watcher(JobServiceStub(connections[index // WATCHERS_OF_A_CONNECTION]), name, token, seen)
        for index, name in enumerate(names)
    ]
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watchers]
    try:
        await asyncio.gather(*(watcher.opened.wait() for watcher in watchers))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in connections))
