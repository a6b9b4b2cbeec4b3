"""Two pieces of work at once that end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
