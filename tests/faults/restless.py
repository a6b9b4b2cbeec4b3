"""A client that leaves a watch every few seconds, connection and all, and comes back after the last event it has."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import grpc

from bloomery.training.v1 import JOB_STATE_SUCCEEDED, JobServiceStub, WatchJobRequest

STAY_SECONDS = 2.0
# Without it all channels of a process share their connections.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@dataclass
class RestlessWatcher:
    """`seen` counts how often each sequence came, `breaks` how often the watch was left."""

    endpoint: str
    token: str
    job: str
    seen: Counter[int] = field(default_factory=Counter)
    breaks: int = 0

    async def follow(self) -> None:
        """Watch until the job has succeeded."""
        while not await self._stay():
            self.breaks += 1

    async def _stay(self) -> bool:
        request = WatchJobRequest(name=self.job, after_sequence=max(self.seen, default=0))
        metadata = (("authorization", f"Bearer {self.token}"),)
        async with grpc.aio.insecure_channel(self.endpoint, options=_OWN_CONNECTION) as channel:
            with suppress(TimeoutError):
                async with asyncio.timeout(STAY_SECONDS):
                    async for message in JobServiceStub(channel).WatchJob(request, metadata=metadata):
                        if message.HasField("event"):
                            self.seen[message.sequence] += 1
                        if message.event.state_changed.to_state == JOB_STATE_SUCCEEDED:
                            return True
        return False


async def follow_all(watchers: list[RestlessWatcher]) -> None:
    """Let all of them watch at once."""
    await asyncio.gather(*(watcher.follow() for watcher in watchers))
