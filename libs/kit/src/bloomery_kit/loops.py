"""Background work that never ends by itself: every loop of every service is made here.

A loop meets errors that nobody expected. It says so, counts them, and goes on; and where a pass works through many
items, one item's trouble is no reason to leave the others alone.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import grpc
from prometheus_client import Counter

from bloomery_kit.errors import BloomeryError, Unavailable
from bloomery_kit.metrics import REGISTRY

FAILURES = Counter(
    "bloomery_loop_failures_total",
    "Errors that background loops met, by loop; each went on.",
    ("loop",),
    registry=REGISTRY,
)
_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 5.0
_log = logging.getLogger("bloomery.loops")
Work = Callable[[], Awaitable[object]]
T = TypeVar("T")


@dataclass
class _Loop:
    name: str
    work: Work
    pause: float | Work
    task: asyncio.Task[None] | None = None


class Loops:
    """The background loops of one service; add all, then `start`, and `close` at the end."""

    def __init__(self) -> None:
        self._loops: list[_Loop] = []

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called, in the order in which they were added."""
        return tuple(loop.name for loop in self._loops)

    def add(self, name: str, work: Work, pause: float | Work) -> None:
        """Do `work` again and again, with `pause` between: seconds, or something that waits for news."""
        FAILURES.labels(name)
        self._loops.append(_Loop(name, work, pause))

    def start(self) -> None:
        """Begin."""
        for loop in self._loops:
            loop.task = asyncio.create_task(_again(loop), name=loop.name)

    async def close(self, *names: str) -> None:
        """Stop the loops of these names, or all, and wait until each has let go of what it held."""
        closing = [loop for loop in self._loops if not names or loop.name in names]
        tasks = [loop.task for loop in closing if loop.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check_ready(self) -> None:
        """Raise Unavailable LOOP_ENDED once a loop that was started runs no more."""
        ended = [loop.name for loop in self._loops if loop.task is not None and loop.task.done()]
        if ended:
            raise Unavailable("LOOP_ENDED", f"{', '.join(ended)} ended; restart this replica", None)


@contextmanager
def guarded(loop: str, *, let: tuple[type[Exception], ...] = (), **what: object) -> Iterator[None]:
    """Keep the trouble of one item of a pass from the others: log it with `what` it concerns, count it, go on.

    Errors of the types in `let` are not the item's and pass, and so does any once the loop was told to stop.
    """
    try:
        yield
    except let:
        raise
    except Exception as error:
        _tell(loop, error, what)
        if _is_told_to_stop():
            raise


async def through_outages(
    loop: str,
    work: Callable[[], Awaitable[T]],
    *,
    outages: tuple[type[Exception], ...] = (Unavailable,),
    patience: float = math.inf,
    **what: object,
) -> T:
    """The result of `work`, repeated for `patience` seconds while it meets `outages`; it may be done twice.

    For what ends an item of a pass: an hour's work is not thrown away because there was nobody to note it down for a
    second. Any other error passes, such as that somebody else has taken the item over.
    """
    clock, backoff = asyncio.get_running_loop().time, _FIRST_BACKOFF
    start = clock()
    while True:
        try:
            return await work()
        except outages as error:
            if _is_told_to_stop() or clock() - start >= patience:
                raise
            _tell(loop, error, what)
        await asyncio.sleep(backoff)
        backoff = min(2 * backoff, _LONGEST_BACKOFF)


async def _again(loop: _Loop) -> None:
    backoff = _FIRST_BACKOFF
    while not _is_told_to_stop():
        try:
            await loop.work()
            await _pause(loop.pause)
            backoff = _FIRST_BACKOFF
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_told_to_stop():
                raise
            _tell(loop.name, error, {})
            if not _is_told_to_stop():
                await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)


def _is_told_to_stop() -> bool:
    """Whether the present task was cancelled, whatever has become of the CancelledError since.

    It may have been taken the place of by an error of the tidying that it caused. And one that is raised may be no
    cancellation of this task: a call whose channel closes raises the same.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0


async def _pause(pause: float | Work) -> None:
    if callable(pause):
        await pause()
    else:
        await asyncio.sleep(pause)


def _tell(loop: str, error: BaseException, what: dict[str, object]) -> None:
    """One line for what is known to happen, such as a neighbour that is away; a traceback for anything else."""
    FAILURES.labels(loop).inc()
    known = isinstance(error, BloomeryError | grpc.aio.AioRpcError)
    level = logging.WARNING if known else logging.ERROR
    fields = {"loop": loop, **what, "error": error}
    _log.log(level, "will try again", extra=fields, exc_info=None if known else error)
