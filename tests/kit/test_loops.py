import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest

from bloomery_kit.errors import Unavailable
from bloomery_kit.loops import FAILURES, Loops, guarded, through_outages


class ForeignError(Exception):
    """Nobody expects it."""


def failures(loop: str) -> float:
    return float(FAILURES.labels(loop)._value.get())


async def running(work: Callable[[], object], turns: int, *, name: str = "tried") -> None:
    """Run a loop until its work has been tried so many times."""
    count, done = 0, asyncio.Event()

    async def counted() -> None:
        nonlocal count
        count += 1
        if count == turns:
            done.set()
        work()

    loops = Loops()
    loops.add(name, counted, 0.0)
    loops.start()
    try:
        async with asyncio.timeout(50):
            await done.wait()
        loops.check_ready()
    finally:
        await loops.close()


async def test_a_loop_goes_on_after_any_error_and_counts_it(caplog: pytest.LogCaptureFixture) -> None:
    def stumble() -> None:
        raise ForeignError

    before = failures("stumbling")
    await running(stumble, 3, name="stumbling")
    assert failures("stumbling") - before >= 2
    assert any(record.exc_info for record in caplog.records)


async def test_an_error_that_is_known_takes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> None:
        raise Unavailable("DATABASE_UNAVAILABLE", "away")

    await running(away, 2)
    assert (caplog.records[0].levelno, caplog.records[0].exc_info) == (logging.WARNING, None)


async def test_a_cancelled_call_inside_does_not_end_a_loop() -> None:
    def closed_channel() -> None:
        raise asyncio.CancelledError

    await running(closed_channel, 2)


async def test_a_pause_that_fails_does_not_end_a_loop() -> None:
    tries = asyncio.Queue[int]()

    async def work() -> None:
        tries.put_nowait(1)

    async def pause() -> None:
        raise ForeignError

    loops = Loops()
    loops.add("pausing", work, pause)
    loops.start()
    async with asyncio.timeout(50):
        await tries.get()
        await tries.get()
    await loops.close()


async def test_closed_loops_have_let_go() -> None:
    let_go = False

    async def hold() -> None:
        nonlocal let_go
        try:
            await asyncio.sleep(60)
        finally:
            let_go = True

    loops = Loops()
    loops.add("holding", hold, 0.0)
    loops.start()
    await asyncio.sleep(0.01)
    await loops.close()
    assert let_go
    with pytest.raises(Unavailable, match="holding ended"):
        loops.check_ready()


class Stubborn:
    """Work that makes something else of the first attempt to cancel it; of all, and a failed test never ends."""

    def __init__(self) -> None:
        self._was_told = False

    async def tidy_badly(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if self._was_told:
                raise
            self._was_told = True
            raise ForeignError from None

    async def keep_on(self) -> None:
        with suppress(ForeignError):
            await self.tidy_badly()

    async def pass_over(self) -> None:
        for item in range(2):
            with guarded("items", item=item):
                await self.tidy_badly()


@pytest.mark.parametrize("work", [Stubborn.tidy_badly, Stubborn.keep_on, Stubborn.pass_over])
async def test_a_loop_ends_when_it_is_told_to_whatever_its_work_makes_of_that(
    work: Callable[[Stubborn], Awaitable[None]],
) -> None:
    loops = Loops()
    loops.add("stubborn", partial(work, Stubborn()), 0.0)
    loops.start()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(50):
        await loops.close()


def test_one_item_does_not_hold_up_the_next(caplog: pytest.LogCaptureFixture) -> None:
    done = []
    before = failures("items")
    for item in range(3):
        with guarded("items", item=item):
            if item == 1:
                raise ForeignError
            done.append(item)
    assert done == [0, 2]
    assert failures("items") - before == 1
    assert caplog.records[0].__dict__["item"] == 1


def test_errors_that_are_not_the_items_pass() -> None:
    with pytest.raises(Unavailable), guarded("items", let=(Unavailable,)):
        raise Unavailable("DATABASE_UNAVAILABLE", "away")


class TestThroughOutages:
    @staticmethod
    def meeting(*errors: Exception) -> Callable[[], Awaitable[str]]:
        left = list(errors)

        async def work() -> str:
            if left:
                raise left.pop(0)
            return "done"

        return work

    async def test_what_meets_an_outage_is_done_after_it(self, caplog: pytest.LogCaptureFixture) -> None:
        before = failures("ends")
        work = self.meeting(Unavailable("DATABASE_UNAVAILABLE", "away"))
        assert await through_outages("ends", work, item=1) == "done"
        assert failures("ends") - before == 1
        assert caplog.records[0].__dict__["item"] == 1

    async def test_any_other_error_passes_at_once(self) -> None:
        with pytest.raises(ForeignError):
            await through_outages("ends", self.meeting(ForeignError()))

    async def test_patience_ends(self) -> None:
        with pytest.raises(Unavailable):
            await through_outages("ends", self.meeting(Unavailable("DATABASE_UNAVAILABLE", "away")), patience=0.0)

    async def test_whoever_is_told_to_stop_waits_no_longer(self) -> None:
        begun = asyncio.Event()

        async def turned_into_an_outage() -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise Unavailable("DATABASE_UNAVAILABLE", "its connection was closed") from None

        task = asyncio.create_task(through_outages("ends", turned_into_an_outage))
        await begun.wait()
        task.cancel()
        async with asyncio.timeout(50):
            await asyncio.wait({task})
        assert isinstance(task.exception(), Unavailable)
