"""Watching what the database says: wake-ups inside the process, polling for what other replicas commit.

A watch ends cleanly when its server drains and after a lifetime drawn at random, before the server cuts connections
that are too old; the client then resumes with its cursor.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E")
LIFETIME_SECONDS = (600.0, 900.0)


def random_lifetime() -> float:
    """Seconds after which a watch ends, spread so that watchers do not come back all at once."""
    return random.uniform(*LIFETIME_SECONDS)  # noqa: S311


class Subscription:
    """One watcher's wake-up; a notification between two waits is not lost."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Let the current or the next wait return at once."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for a notification, at most `seconds`; whether one came."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Notifier:
    """Wakes the watchers of a key in this process; call `notify` after the commit. Belongs to one event loop."""

    def __init__(self) -> None:
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)

    def notify(self, key: str) -> None:
        """Wake everyone who watches `key`."""
        for subscription in self._subscriptions.get(key, ()):
            subscription.wake()

    def notify_all(self) -> None:
        """Wake everyone, as a drain does."""
        for key in self._subscriptions:
            self.notify(key)

    def listen(self, key: str) -> Subscription:
        """Watch `key` for as long as this notifier lives, as background loops do."""
        subscription = Subscription()
        self._subscriptions[key].add(subscription)
        return subscription

    @contextmanager
    def subscribe(self, key: str) -> Iterator[Subscription]:
        """Watch `key`; subscribe before the first read, so that no change falls between."""
        subscription = self.listen(key)
        try:
            yield subscription
        finally:
            self._subscriptions[key].discard(subscription)
            if not self._subscriptions[key]:
                del self._subscriptions[key]


async def watch_states(
    load: Callable[[], Awaitable[T]],
    *,
    changed: Notifier,
    key: str,
    until: Callable[[T], bool],
    draining: asyncio.Event,
    seen: Callable[[T], bool] = lambda _: False,
    poll: float = 1.0,
    heartbeat: float = 15.0,
    lifetime: Callable[[], float] = random_lifetime,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[T]:
    """The state that `load` returns: now, after each change, and again after `heartbeat` seconds of silence.

    Whoever has `seen` the present one is told of the next, and gets signs of life all the same. Ends after a state for
    which `until` holds, when the server drains, or after its lifetime. Times are in seconds.
    """
    end = clock() + lifetime()
    with changed.subscribe(key) as subscription:
        state = await load()
        if not seen(state):
            yield state
        silent_since = clock()
        while not until(state) and clock() < end and not await _pause(subscription, draining, poll):
            latest = await load()
            if latest != state or clock() - silent_since >= heartbeat:
                state = latest
                yield state
                silent_since = clock()


async def follow_log(
    read: Callable[[int], Awaitable[Sequence[E]]],
    *,
    after: int,
    sequence: Callable[[E], int],
    changed: Notifier,
    key: str,
    draining: asyncio.Event,
    poll: float = 1.0,
    heartbeat: float = 15.0,
    lifetime: Callable[[], float] = random_lifetime,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Sequence[E]]:
    """Entries of a log past the sequence `after`, in order, in the batches that `read(cursor)` returns.

    An empty batch is a heartbeat, after `heartbeat` seconds of silence. Ends when the server drains or after its
    lifetime; the caller stops at a terminal entry. `sequence` tells the last number that an entry covers.
    """
    end = clock() + lifetime()
    with changed.subscribe(key) as subscription:
        silent_since = clock()
        while not draining.is_set() and clock() < end:
            entries = await read(after)
            if entries or clock() - silent_since >= heartbeat:
                yield entries
                silent_since = clock()
            if entries:
                after = sequence(entries[-1])
            else:
                await _pause(subscription, draining, poll)


async def _pause(subscription: Subscription, draining: asyncio.Event, seconds: float) -> bool:
    if not draining.is_set():
        waits = {asyncio.ensure_future(subscription.wait(seconds)), asyncio.ensure_future(draining.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
    return draining.is_set()
