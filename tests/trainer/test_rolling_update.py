"""A replica is replaced by a new one under the same address, while many people watch through it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest

from bloomery import AsyncClient
from tests.trainer.bench import TOKEN, Trainer, World, feeding, running_trainer
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import FakeWorker, Hand, by_hand, log

WATCHERS = 200
ON_A_CONNECTION = 20
Seen = list[tuple[int, float]]


@asynccontextmanager
async def replica(world: World, port: int = 0) -> AsyncIterator[Trainer]:
    """One that serves watches, and leaves the work to the other."""
    async with (
        running_trainer(world, launcher=FakeLauncher(), reconcile=False, port=port) as trainer,
        feeding(trainer.app.core),
    ):
        yield trainer


async def watch(client: AsyncClient, name: str, seen: Seen) -> None:
    job = await client.job(name)
    async for event in job.watch():
        seen.append((event.sequence, time.monotonic()))


async def work(hand: Hand, worker: FakeWorker, until: asyncio.Event) -> None:
    while not until.is_set():
        await worker.report(log("a line"))
        await asyncio.sleep(0.05)
    await worker.finish(success=await worker.success(hand.core))


async def all_saw(people: list[Seen], count: int) -> None:
    while min(len(seen) for seen in people) < count:  # noqa: ASYNC110 - watchers tell nobody
        await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
async def test_no_watcher_notices_that_a_replica_is_replaced(world: World) -> None:
    people: list[Seen] = [[] for _ in range(WATCHERS)]
    done = asyncio.Event()
    watching: list[asyncio.Task[None]] = []
    async with by_hand(world) as hand, AsyncExitStack() as clients, asyncio.TaskGroup() as tasks:
        job, worker = await hand.running()
        tasks.create_task(work(hand, worker, done))
        async with replica(world) as old:
            port = old.host.port
            for start in range(0, WATCHERS, ON_A_CONNECTION):
                client = await clients.enter_async_context(AsyncClient(f"127.0.0.1:{port}", token=TOKEN))
                mine = people[start : start + ON_A_CONNECTION]
                watching += [tasks.create_task(watch(client, job.name, seen)) for seen in mine]
            await asyncio.wait_for(all_saw(people, 10), 60)
        async with replica(world, port) as _:
            await asyncio.wait_for(all_saw(people, max(map(len, people)) + 10), 60)
            done.set()
            await asyncio.wait_for(asyncio.gather(*watching), 60)
            last = (await hand.trainer.get(job.name)).last_sequence
    gaps = sorted(after - before for seen in people for (_, before), (_, after) in pairwise(seen))
    print(f"{WATCHERS} watchers: the longest pause of one is {gaps[-1]:.2f} s, the median {gaps[len(gaps) // 2]:.2f} s")
    assert all([sequence for sequence, _ in seen] == list(range(1, last + 1)) for seen in people)
