"""Reports events, keeps the attempt's lease, and hears what to do next."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from bloomery.training.v1 import (
    DIRECTIVE_CANCEL,
    DIRECTIVE_PAUSE,
    JobEvent,
    ReportProgressResponse,
)
from bloomery_worker.client import WorkerClient, may_pass, patiently
from bloomery_worker.spool import Spool

BATCH = 1000
"""The most events of one report, by contract."""

FULL = 100
"""Events that are reported at once, without waiting for the interval."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants of the worker.

    Attributes:
        stop: end, and keep the last checkpoint.
        urgent: within the grace that a signal leaves.
        force: without waiting for anything.
        fenced: the attempt is no longer the job's.
    """

    stop: bool = False
    urgent: bool = False
    force: bool = False
    fenced: bool = False

    def __or__(self, other: "Order") -> "Order":
        """Both: orders only ever become stricter."""
        return Order(
            self.stop or other.stop,
            self.urgent or other.urgent,
            self.force or other.force,
            self.fenced or other.fenced,
        )


class Reporter:
    """Sends what is in the spool at least every `interval` seconds. `obey` is called with each order, also repeated."""

    def __init__(self, client: WorkerClient, spool: Spool, *, interval: float, obey: Callable[[Order], None]) -> None:
        self._client, self._spool, self._obey = client, spool, obey
        self._interval = interval
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self.phase = "preparing"
        self.stalled = False

    def add(self, event: JobEvent) -> None:
        """Puts an event into the next report."""
        self._spool.append(event)
        if len(self._spool) >= FULL:
            self._wake.set()

    def enter(self, phase: str) -> None:
        """Says at once what goes on now."""
        if phase != self.phase:
            self.phase = phase
            self._wake.set()

    async def turn(self) -> None:
        """Reports once and waits until the next report is due. A report that fails never ends the work.

        Raises:
            FencedError: the attempt is no longer the job's.
        """
        try:
            await self._report()
        except grpc.aio.AioRpcError as problem:
            _LOG.warning("a report failed: %s %s", problem.code().name, problem.details())
            if not may_pass(problem):
                self._spool.discard_batch()
            # The full spool of an outage must not turn the wait into a busy loop.
            await asyncio.sleep(self._interval)
        await self._wait()

    async def flush(self) -> None:
        """Reports until nothing is left, however long the service is away.

        Raises:
            FencedError: the attempt is no longer the job's.
        """
        while len(self._spool):
            try:
                await patiently(self._report)
            except grpc.aio.AioRpcError as problem:
                _LOG.warning("events are lost: %s %s", problem.code().name, problem.details())
                self._spool.discard_batch()

    async def _report(self) -> None:
        async with self._sending:
            first, events = self._spool.batch(BATCH)
            answer = await self._client.report(first, events, phase=self.phase, stalled=self.stalled)
            self._spool.acknowledge(answer.acknowledged_sequence)
        self._interval = answer.next_interval_seconds or self._interval
        self._listen(answer)

    def _listen(self, answer: ReportProgressResponse) -> None:
        if answer.directive in (DIRECTIVE_PAUSE, DIRECTIVE_CANCEL):
            self._obey(Order(stop=True, force=answer.force))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
