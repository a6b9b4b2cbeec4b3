"""Several pieces of work at once."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once and return what they return; the first error stops the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def each(items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, object]], at_once: int) -> None:
    """Do the work for each, `at_once` at once; the first error stops the others and is raised as it is."""
    turns = asyncio.Semaphore(at_once)

    async def take(item: T) -> None:
        async with turns:
            await work(item)

    await together(take(item) for item in items)


async def unbroken(task: asyncio.Task[T], leave: Callable[[], None] = lambda: None) -> T:
    """Wait for the end of a task, even when the caller is called off: then `leave` is called, maybe more than once."""
    called_off: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            called_off = error
            leave()
    if called_off:
        await asyncio.gather(task, return_exceptions=True)
        raise called_off
    return task.result()


@asynccontextmanager
async def ahead(
    source: AsyncGenerator[T, None], depth: int, weight: Callable[[T], int] = lambda _: 1
) -> AsyncGenerator[AsyncGenerator[T, None], None]:
    """What `source` yields, up to `depth` of which, by their weights, are got ready meanwhile, from now on."""
    ready: asyncio.Queue[T | None] = asyncio.Queue()
    room = asyncio.Semaphore(depth - 1)

    async def read() -> None:
        async with aclosing(source):
            async for one in source:
                ready.put_nowait(one)
                for _ in range(weight(one)):
                    await room.acquire()

    async def taken() -> AsyncGenerator[T, None]:
        while (one := await ready.get()) is not None:
            for _ in range(weight(one)):
                room.release()
            yield one
        await reading

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        async with aclosing(taken()) as given:
            yield given
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def in_order(work: Iterable[Coroutine[Any, Any, T]], at_once: int) -> AsyncGenerator[T, None]:
    """Run `at_once` at once and yield what they return in their order; an error or a leave stops the others."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        for one in work:
            running.append(asyncio.create_task(one))
            if len(running) == at_once:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for left in running:
            left.cancel()
        await asyncio.gather(*running, return_exceptions=True)
