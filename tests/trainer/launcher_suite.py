"""What every launcher does alike: each runs these tests on workers that are lines of shell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import pytest

from bloomery_trainer.launcher import Launched, Launcher, Order, Phase

T = TypeVar("T")
UID = "u" * 32
SLEEP = "echo started; exec sleep 600"


class Seam(Protocol):
    """Launchers that share one world, and what their workers do."""

    def script(self, line: str) -> None:
        """What workers run that are launched from now on."""
        ...

    def launcher(self) -> Launcher:
        """One more of them."""
        ...

    def order(self, attempt: int = 1) -> Order:
        """An attempt of one job."""
        ...


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], object], *, seconds: float = 30.0) -> T:
    """The first answer of which something holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not holds(answer := await ask()):
        if loop.time() > end:
            raise AssertionError(answer)
        await asyncio.sleep(0.02)
    return answer


async def seen(
    launcher: Launcher, holds: Callable[[Launched | None], bool], attempt: int = 1, *, seconds: float = 30.0
) -> Launched:
    """What a launcher sees of an attempt once something holds of it."""

    async def observed() -> Launched | None:
        return next((thing for thing in await launcher.observe() if thing.attempt == attempt), None)

    found = await until(observed, holds, seconds=seconds)
    assert found is not None
    return found


def runs(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.RUNNING


def ended(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.ENDED


async def printed(launcher: Launcher, *, tail: int = 5, attempt: int = 1) -> list[str]:
    return [line async for line in launcher.logs(UID, attempt, tail=tail)]


class LauncherSuite:
    """A subclass has the fixture `seam`, and says how long its world may take."""

    seconds = 30.0

    async def launched(self, seam: Seam, line: str) -> tuple[Launcher, Launched]:
        """A launcher whose worker runs, or has ended already."""
        seam.script(line)
        launcher = seam.launcher()
        await launcher.launch(seam.order())
        return launcher, await self.seen(launcher, lambda thing: runs(thing) or ended(thing))

    async def seen(self, launcher: Launcher, holds: Callable[[Launched | None], bool]) -> Launched:
        return await seen(launcher, holds, seconds=self.seconds)

    async def prints(self, launcher: Launcher, *lines: str, tail: int = 5) -> None:
        await until(lambda: printed(launcher, tail=tail), lambda found: found == [*lines], seconds=self.seconds)

    async def test_an_attempt_that_was_not_launched_is_not_there(self, seam: Seam) -> None:
        launcher = seam.launcher()
        assert [*await launcher.observe()] == []
        await launcher.stop(UID, 1, grace=0)
        await launcher.remove(UID, 1)
        assert await printed(launcher) == []

    async def test_launchers_that_race_start_one_worker(self, seam: Seam) -> None:
        seam.script(SLEEP)
        launchers = [seam.launcher() for _ in range(4)]
        await asyncio.gather(*(launcher.launch(seam.order()) for launcher in launchers))
        await until(lambda: printed(launchers[0]), lambda lines: "started" in lines, seconds=self.seconds)
        for launcher in launchers:
            await launcher.launch(seam.order())
        assert runs(await self.seen(seam.launcher(), runs))
        assert (await printed(launchers[0])).count("started") == 1

    async def test_what_was_launched_is_seen_at_once(self, seam: Seam) -> None:
        seam.script(SLEEP)
        launcher = seam.launcher()
        await launcher.launch(seam.order())
        things = await launcher.observe()
        assert [(thing.job_uid, thing.attempt) for thing in things] == [(UID, 1)]

    async def test_an_exit_code_is_seen(self, seam: Seam) -> None:
        launcher, _ = await self.launched(seam, "echo gone; exit 42")
        thing = await self.seen(launcher, ended)
        assert (thing.exit_code, thing.termination, thing.reason) == (42, None, None)
        assert await printed(launcher) == ["gone"]

    async def test_a_good_end_is_seen(self, seam: Seam) -> None:
        launcher, _ = await self.launched(seam, "exit 0")
        assert (await self.seen(launcher, ended)).exit_code == 0

    async def test_last_words_are_read_by_every_launcher(self, seam: Seam) -> None:
        words = '{"exit_code": 42, "finished": false, "reason": {"code": "X", "message": "m"}, "epoch": 3, "later": 1}'
        await self.launched(seam, f"echo '{words}' >\"$BLOOMERY_TERMINATION_FILE\"; exit 1")
        thing = await self.seen(seam.launcher(), ended)
        assert thing.termination is not None
        assert thing.termination.reason is not None
        assert (thing.exit_code, thing.termination.epoch, thing.termination.reason.code) == (42, 3, "X")

    @pytest.mark.parametrize("words", ["{", '{"exit_code": "often"}'])
    async def test_last_words_that_make_no_sense_are_none(self, seam: Seam, words: str) -> None:
        launcher, _ = await self.launched(seam, f"echo '{words}' >\"$BLOOMERY_TERMINATION_FILE\"; exit 7")
        thing = await self.seen(launcher, ended)
        assert (thing.exit_code, thing.termination) == (7, None)

    async def test_a_stop_asks_first(self, seam: Seam) -> None:
        asked = "trap 'echo asked; exit 44' TERM; echo started; while true; do sleep 0.05; done"
        launcher, _ = await self.launched(seam, asked)
        await self.prints(launcher, "started")
        lines = launcher.logs(UID, 1, tail=5, follow=True)
        assert await anext(lines) == "started"
        await launcher.stop(UID, 1, grace=20)
        assert [line async for line in lines] == ["asked"]
        await self.stopped(launcher, grace=20)

    async def test_a_worker_that_does_not_listen_is_ended(self, seam: Seam) -> None:
        launcher, _ = await self.launched(seam, "trap '' TERM; echo started; while true; do sleep 0.05; done")
        await self.prints(launcher, "started")
        await self.stopped(launcher, grace=0)

    async def stopped(self, launcher: Launcher, *, grace: float) -> None:
        """Ask until nothing of it runs any more, as the trainer does."""

        async def running() -> bool:
            await launcher.stop(UID, 1, grace=grace)
            return any(thing.phase is not Phase.ENDED for thing in await launcher.observe())

        await until(running, lambda runs: not runs, seconds=self.seconds)

    async def test_removing_leaves_nothing(self, seam: Seam) -> None:
        launcher, _ = await self.launched(seam, "exit 0")
        await self.seen(launcher, ended)
        await launcher.remove(UID, 1)
        await launcher.remove(UID, 1)
        assert [*await launcher.observe()] == []
        assert [*await seam.launcher().observe()] == []

    async def test_the_last_lines_can_be_read(self, seam: Seam) -> None:
        launcher, _ = await self.launched(seam, "seq 1 100; printf unfinished; exit 0")
        await self.seen(launcher, ended)
        assert await printed(launcher, tail=3) == ["99", "100", "unfinished"]
        assert await printed(launcher, tail=0) == []
        assert len(await printed(launcher, tail=1000)) == 101

    async def test_an_attempt_leaves_the_next_one_alone(self, seam: Seam) -> None:
        launcher, _ = await self.launched(seam, "exit 1")
        await self.seen(launcher, ended)
        seam.script(SLEEP)
        await launcher.launch(seam.order(2))
        await launcher.remove(UID, 1)
        assert runs(await seen(launcher, runs, 2, seconds=self.seconds))
