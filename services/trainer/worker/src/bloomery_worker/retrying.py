"""One way to try again: with pauses that grow, and are spread so that many workers do not come at once."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Worth = Callable[[Exception], bool]
"""Whether a call that raised this may succeed later. It may keep count between calls."""
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Policy:
    """When to give up, and how long to wait before.

    Attributes:
        patience: seconds after the first failure after which nothing is tried again.
        first: seconds of the first pause; each is twice the one before.
        longest: seconds of the longest one.
    """

    patience: float = float("inf")
    first: float = 0.2
    longest: float = 10.0


async def again(
    call: Callable[[], Awaitable[T]],
    worth: Worth,
    policy: Policy,
    *,
    further: Callable[[], bool] = lambda: False,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Calls until it succeeds. Raises what the call does where that is not worth another try, or patience is out.

    Patience begins anew after a call that got `further` than those before.
    """
    pause, deadline = policy.first, None
    while True:
        try:
            return await call()
        except Exception as problem:
            if deadline is None or further():
                pause, deadline = policy.first, clock() + policy.patience
            if not worth(problem) or clock() + pause > deadline:
                raise
        await sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
        pause = min(pause * 2, policy.longest)


def at_most(times: int, counted: Worth, other: Worth) -> Worth:
    """Worth another try: fewer than so many failures of the `counted` kind in all; of the rest, what `other` says."""
    met = 0

    def worth(problem: Exception) -> bool:
        nonlocal met
        if not counted(problem):
            return other(problem)
        met += 1
        return met < times

    return worth


def for_a_while(seconds: float, counted: Worth, other: Worth, *, clock: Callable[[], float] = time.monotonic) -> Worth:
    """Worth another try: failures of the `counted` kind alone for so long; of the rest, what `other` says."""
    since: float | None = None

    def worth(problem: Exception) -> bool:
        nonlocal since
        if not counted(problem):
            since = None
            return other(problem)
        if since is None:
            since = clock()
        return clock() - since < seconds

    return worth
