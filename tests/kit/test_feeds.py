import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from bloomery_kit.feeds import Notifier, follow_log, random_lifetime, watch_states

FOREVER = 3600.0


class Source:
    """A state and a log that a test changes."""

    def __init__(self) -> None:
        self.state = "PENDING"
        self.log: list[int] = []
        self.changed = Notifier()
        self.draining = asyncio.Event()

    async def load(self) -> str:
        return self.state

    async def read(self, after: int) -> Sequence[int]:
        return [number for number in self.log if number > after][:2]

    def become(self, state: str) -> None:
        self.state = state
        self.changed.notify("key")

    def append(self, *numbers: int) -> None:
        self.log.extend(numbers)
        self.changed.notify("key")

    def states(
        self, *, poll: float = FOREVER, heartbeat: float = FOREVER, lifetime: float = FOREVER, seen: str = ""
    ) -> AsyncIterator[str]:
        return watch_states(
            self.load,
            changed=self.changed,
            key="key",
            until=lambda state: state == "DONE",
            seen=lambda state: state == seen,
            draining=self.draining,
            poll=poll,
            heartbeat=heartbeat,
            lifetime=lambda: lifetime,
        )

    def entries(
        self, *, after: int = 0, poll: float = FOREVER, heartbeat: float = FOREVER, lifetime: float = FOREVER
    ) -> AsyncIterator[Sequence[int]]:
        return follow_log(
            self.read,
            after=after,
            sequence=lambda number: number,
            changed=self.changed,
            key="key",
            draining=self.draining,
            poll=poll,
            heartbeat=heartbeat,
            lifetime=lambda: lifetime,
        )


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_a_watch_starts_with_the_state_and_ends_with_the_last_one(source: Source) -> None:
    seen = []
    async for state in source.states():
        seen.append(state)
        source.become("RUNNING" if state == "PENDING" else "DONE")
    assert seen == ["PENDING", "RUNNING", "DONE"]


async def test_watching_what_is_over_yields_it_once(source: Source) -> None:
    source.state = "DONE"
    assert [state async for state in source.states()] == ["DONE"]


async def test_a_change_of_another_replica_is_found_by_polling(source: Source) -> None:
    seen = []
    async for state in source.states(poll=0.001):
        seen.append(state)
        source.state = "DONE"
    assert seen == ["PENDING", "DONE"]


async def test_silence_is_filled_with_heartbeats(source: Source) -> None:
    async with aclosing(source.states(poll=0.001, heartbeat=0.002)) as states:  # type: ignore[type-var]
        assert [await anext(states) for _ in range(3)] == ["PENDING"] * 3


async def test_whoever_has_the_state_already_gets_the_next_one_or_a_heartbeat(source: Source) -> None:
    async with aclosing(source.states(poll=0.001, heartbeat=0.002, seen="PENDING")) as states:  # type: ignore[type-var]
        assert await anext(states) == "PENDING"
    async with aclosing(source.states(poll=0.001, seen="PENDING")) as states:  # type: ignore[type-var]
        asyncio.get_running_loop().call_later(0.01, source.become, "RUNNING")
        assert await anext(states) == "RUNNING"


async def test_a_state_that_did_not_change_is_not_repeated_before_the_heartbeat(source: Source) -> None:
    states = source.states(poll=0.001)
    assert await anext(states) == "PENDING"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(states), 0.05)


async def test_a_draining_server_ends_watches(source: Source) -> None:
    seen = []
    async for state in source.states():
        seen.append(state)
        source.draining.set()
    assert seen == ["PENDING"]
    assert [batch async for batch in source.entries()] == []


async def test_a_watch_ends_after_its_lifetime_to_be_resumed(source: Source) -> None:
    source.log = [1]
    assert [state async for state in source.states(poll=0.001, lifetime=0.02)] == ["PENDING"]
    assert [batch async for batch in source.entries(poll=0.001, lifetime=0.02)] == [[1]]


def test_lifetimes_differ_between_ten_and_fifteen_minutes() -> None:
    lifetimes = {random_lifetime() for _ in range(100)}
    assert len(lifetimes) > 90
    assert all(600 <= lifetime <= 900 for lifetime in lifetimes)


async def test_a_log_is_followed_in_order_without_gaps_or_repeats(source: Source) -> None:
    source.log = [1, 2, 3]
    seen: list[int] = []
    async for batch in source.entries():
        seen.extend(batch)
        if seen[-1] == 3:
            source.append(4, 5, 6)
        if seen[-1] == 6:
            break
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_log_is_resumed_after_the_cursor(source: Source) -> None:
    source.log = [1, 2, 3]
    async for batch in source.entries(after=2):
        assert batch == [3]
        break


async def test_a_silent_log_has_heartbeats(source: Source) -> None:
    async for batch in source.entries(poll=0.001, heartbeat=0.002):
        assert batch == []
        break


async def test_a_drain_interrupts_even_a_log_that_always_has_more(source: Source) -> None:
    source.log = [*range(1, 1000)]
    batches = 0
    async for _ in source.entries():
        batches += 1
        source.draining.set()
    assert batches == 1


async def test_a_notification_before_the_wait_is_not_lost() -> None:
    notifier = Notifier()
    with notifier.subscribe("a") as subscription:
        notifier.notify("a")
        assert await subscription.wait(FOREVER)
        assert not await subscription.wait(0.001)


async def test_only_the_watchers_of_the_key_wake_until_all_are_called() -> None:
    notifier = Notifier()
    with notifier.subscribe("a") as one, notifier.subscribe("b") as other:
        notifier.notify("a")
        assert await one.wait(FOREVER)
        assert not await other.wait(0.001)
        notifier.notify_all()
        assert await one.wait(FOREVER)
        assert await other.wait(FOREVER)


async def test_watchers_that_left_leave_nothing_behind() -> None:
    notifier = Notifier()
    for _ in range(3):
        with notifier.subscribe("a"), notifier.subscribe("a"):
            pass
    assert not notifier._subscriptions
