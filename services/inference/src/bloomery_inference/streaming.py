"""The frames of a stream: answered several at once, in their order, and no faster than anybody takes the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from bloomery_inference import metrics
from bloomery_inference.budget import Budget
from bloomery_kit.errors import ResourceExhausted
from bloomery_kit.feeds import random_lifetime

F = TypeVar("F")
A = TypeVar("A")


class Streams:
    """At most `streams` at once. Each holds at most `frames`, and all together about `held_bytes` of them."""

    def __init__(
        self,
        draining: asyncio.Event,
        *,
        streams: int,
        frames: int,
        held_bytes: int,
        lifetime: Callable[[], float] = random_lifetime,
    ) -> None:
        self._draining = draining
        self._left = streams
        self._frames = frames
        self._budget = Budget(held_bytes)
        self._lifetime = lifetime

    async def answers(
        self, frames: AsyncIterator[F], answer: Callable[[F], Awaitable[A]], size: Callable[[F], int]
    ) -> AsyncGenerator[A, None]:
        """What `answer` returns for each frame, of `size` bytes, in their order; an error of it ends the stream.

        Ends when all frames are answered; after its lifetime and when the server drains it reads no more, answers what
        it has, and ends. Raise ResourceExhausted TOO_MANY_STREAMS.
        """
        begun: asyncio.Queue[asyncio.Task[A] | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._frames)
        running: set[asyncio.Task[A]] = set()

        async def take() -> None:
            await room.acquire()
            async for frame in frames:
                held = asyncio.Event()
                task = asyncio.create_task(self._held(frame, answer, size(frame), held))
                running.add(task)
                begun.put_nowait(task)
                await held.wait()
                await room.acquire()

        async with self._place():
            taking = asyncio.create_task(take())
            taking.add_done_callback(lambda _: begun.put_nowait(None))
            leaving = asyncio.create_task(self._leave(taking))
            try:
                while (task := await begun.get()) is not None:
                    yield await task
                    running.discard(task)
                    room.release()
                if not taking.cancelled():
                    taking.result()
            finally:
                left = (taking, leaving, *running)
                for one in left:
                    one.cancel()
                await asyncio.gather(*left, return_exceptions=True)

    async def _held(self, frame: F, answer: Callable[[F], Awaitable[A]], size: int, held: asyncio.Event) -> A:
        async with self._budget.hold(size):
            held.set()
            return await answer(frame)

    async def _leave(self, taking: asyncio.Task[None]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lifetime()):
                await self._draining.wait()
        taking.cancel()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if not self._left:
            text = "this server serves as many streams of frames as it can"
            raise ResourceExhausted("TOO_MANY_STREAMS", text, retry_after=1.0)
        self._left -= 1
        try:
            with metrics.STREAMS.track_inprogress():
                yield
        finally:
            self._left += 1
