"""A launcher without processes, to inject what a machine or a cluster may do to an attempt."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Literal

from bloomery_trainer.launcher import Launched, LaunchError, Order, Phase, Termination
from bloomery_trainer.model import Reason, Resources


class FakeLauncher:
    """What was launched is what the test says it is."""

    def __init__(self, capacity: Resources | None = None) -> None:
        self.things: dict[tuple[str, int], Launched] = {}
        self.orders: list[Order] = []
        self.stops: list[tuple[str, int, float]] = []
        self.refusal: Reason | None = None
        self.crash: Literal["before", "after", "never"] = "never"
        self.faults: dict[tuple[str, str], Exception] = {}
        self.stubborn = False
        self.incarnations = False
        self.tail: Sequence[str] = ()
        self.free: int | None = None
        self._capacity = capacity
        self._pods = 0

    def capacity(self) -> Resources | None:
        return self._capacity

    async def launch(self, order: Order) -> None:
        self._fail("launch", order.job.uid)
        if self.crash == "before":
            raise KeyboardInterrupt
        if self.refusal is not None:
            raise LaunchError(self.refusal)
        key = (order.job.uid, order.attempt)
        if key not in self.things:
            self.orders.append(order)
            self.things[key] = Launched(*key, Phase.RUNNING, incarnation=self._next_pod())
        if self.crash == "after":
            raise KeyboardInterrupt

    async def observe(self) -> Sequence[Launched]:
        return list(self.things.values())

    async def stop(self, job_uid: str, attempt: int, *, grace: float) -> None:
        self._fail("stop", job_uid)
        self.stops.append((job_uid, attempt, grace))
        if not self.stubborn:
            self.ends(-15, attempt=attempt, job_uid=job_uid)

    async def remove(self, job_uid: str, attempt: int) -> None:
        self._fail("remove", job_uid)
        del self.things[job_uid, attempt]

    async def logs(self, job_uid: str, attempt: int, *, tail: int, follow: bool = False) -> AsyncIterator[str]:
        for line in self.tail[-tail:]:
            yield line

    async def free_bytes(self) -> int | None:
        return self.free

    async def follow(self, tell: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass

    def _fail(self, verb: str, job_uid: str) -> None:
        if fault := self.faults.get((verb, job_uid)):
            raise fault

    @property
    def running(self) -> list[tuple[str, int]]:
        return [key for key, thing in self.things.items() if thing.phase is not Phase.ENDED]

    def ends(
        self,
        exit_code: int | None,
        *,
        attempt: int | None = None,
        job_uid: str | None = None,
        termination: Termination | None = None,
    ) -> None:
        """The process of an attempt (the last one launched) has ended."""
        key = (job_uid or self.orders[-1].job.uid, attempt or self.orders[-1].attempt)
        self.things[key] = Launched(*key, Phase.ENDED, exit_code, termination)

    def becomes(self, phase: Phase, reason: Reason | None = None, *, incarnation: str | None = None) -> None:
        """The last one launched is in another phase, in the same incarnation where no other is given."""
        key = (self.orders[-1].job.uid, self.orders[-1].attempt)
        known = self.things[key].incarnation if incarnation is None else incarnation
        self.things[key] = replace(self.things[key], phase=phase, reason=reason, incarnation=known)

    def interrupts(self, key: tuple[str, int], phase: Phase, *, named: bool) -> None:
        """The worker of an attempt was taken away, and the next one does not run yet; it is `named` already, or not."""
        self.things[key] = Launched(*key, phase, incarnation=self._next_pod() if named else "")

    def restarts(self, key: tuple[str, int]) -> None:
        """The worker of an attempt was taken away, and the next one runs: the one that was named, if there is one."""
        before = self.things[key]
        named = before.incarnation if before.phase is Phase.WAITING else ""
        self.things[key] = Launched(*key, Phase.RUNNING, incarnation=named or self._next_pod())

    def _next_pod(self) -> str:
        self._pods += self.incarnations
        return f"pod-{self._pods}" if self.incarnations else ""

    def vanishes(self) -> None:
        """Somebody removed the last one launched."""
        del self.things[self.orders[-1].job.uid, self.orders[-1].attempt]
