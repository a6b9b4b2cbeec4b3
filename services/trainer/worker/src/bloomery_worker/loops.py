"""What the supervisor does again and again beside the work: no error ends it that it did not expect."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from bloomery_worker.client import FencedError

PAUSE = 2.0
"""Seconds after a turn that failed."""

_LOG = logging.getLogger(__name__)

Turn = Callable[[], Awaitable[None]]
"""What a loop does once, its waiting included."""


class Loops:
    """Runs turns for ever, each kind in a task of its own.

    Args:
        warn: is told, for people, what a turn has failed of; not again while it fails of the same.
        fenced: is called once a turn raises FencedError, which ends its loop.
        ended: is called where a loop has ended otherwise, which nothing should bring about.

    Attributes:
        lost: the name of a loop that has ended so; "" while all go on.
    """

    def __init__(self, *, warn: Callable[[str], None], fenced: Callable[[], None], ended: Callable[[], None]) -> None:
        self._warn, self._fenced, self._ended = warn, fenced, ended
        self._turns: dict[str, Turn] = {}
        self._said: dict[str, str] = {}
        self.lost = ""

    def add(self, name: str, turn: Turn) -> None:
        """Adds a loop, before they run."""
        self._turns[name] = turn

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs all of them beside the block."""
        tasks = {asyncio.create_task(self._run(name, turn), name=name) for name, turn in self._turns.items()}
        for task in tasks:
            task.add_done_callback(self._look_at)
        try:
            yield
        finally:
            for task in tasks:
                task.remove_done_callback(self._look_at)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, turn: Turn) -> None:
        while True:
            try:
                await turn()
            except FencedError:
                self._fenced()
                return
            except Exception as problem:  # noqa: BLE001 - it is there for what nobody expected
                _LOG.exception("the worker's %s failed and goes on", name)
                self._say(name, f"the worker's {name} failed and goes on: {type(problem).__name__}: {problem}")
                await asyncio.sleep(PAUSE)

    def _say(self, name: str, message: str) -> None:
        if self._said.get(name) != message:
            self._said[name] = message
            self._warn(message)

    def _look_at(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or task.exception() is not None:
            self.lost = task.get_name()
            self._ended()
