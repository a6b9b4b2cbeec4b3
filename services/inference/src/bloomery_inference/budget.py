"""A bound on the sum of what is held at once, for what comes in very different sizes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Budget:
    """At most `limit` is held, in the order of asking; what is larger is held alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator["Held"]:
        """Hold `size` while the block runs, which begins once there is room; the block may give a part back early."""
        async with self._turn:
            while self._held and self._held + size > self._limit:
                self._freed.clear()
                await self._freed.wait()
            self._held += size
        held = Held(size, self._give_back)
        try:
            yield held
        finally:
            held.keep(0)

    def _give_back(self, size: int) -> None:
        self._held -= size
        self._freed.set()


class Held:
    """What one block holds."""

    def __init__(self, size: int, give_back: Callable[[int], None]) -> None:
        self._size = size
        self._give_back = give_back

    def keep(self, size: int) -> None:
        """Give back all but `size`."""
        if size < self._size:
            self._give_back(self._size - size)
            self._size = size
