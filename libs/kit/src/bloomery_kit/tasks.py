"""Two pieces of work at once that end together, work in a thread, and work that a loop does later if not now."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_AT_ONCE_SECONDS = 1.0
_log = logging.getLogger("bloomery.tasks")


async def beside(work: Coroutine[Any, Any, T], beat: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which goes on for as long as `beat` does, such as the renewal of its lease.

    Where `beat` ends first, what it returns or raises is the result. Neither outlives the call.
    """
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(beat)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return await (tasks[0] if tasks[0] in done else tasks[1])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def in_thread(work: Callable[..., T], *given: object) -> T:
    """What `work` returns in a thread. Who is called off waits for its end: till then it takes a place and memory."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


@asynccontextmanager
async def at_once(what: str) -> AsyncIterator[None]:
    """Try now what a loop does anyway, so that a caller who goes on meets it done.

    What fails, or takes longer than a second, is left to the loop.
    """
    try:
        async with asyncio.timeout(_AT_ONCE_SECONDS):
            yield
    except Exception as error:  # noqa: BLE001
        _log.info("left to a loop", extra={"what": what, "error": error})
