"""Tasks that do not outlive the block that needs them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import TypeVar

T = TypeVar("T")


@contextlib.asynccontextmanager
async def task(work: Coroutine[object, object, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs a coroutine beside the block, and cancels it at the block's end where it still runs."""
    running = asyncio.create_task(work)
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait({running})
