"""Results that could not be recorded for a reason that may pass: tried again until they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import grpc
from prometheus_client import Gauge

from bloomery.training.v1 import FeedItem, ListJobResultsRequest
from bloomery_inference.recording import Recorder, is_hopeless, reason_of
from bloomery_inference.store import results
from bloomery_inference.store.results import ParkedResult
from bloomery_kit.database import Database
from bloomery_kit.errors import FailedPrecondition
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import guarded
from bloomery_kit.metrics import REGISTRY

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

LOOP = "inference parked results"
PARKED = "parked results"
"""Key of the notifier that says that a result was parked."""
WAITING = Gauge(
    "bloomery_inference_parked_results",
    "Results of jobs that could not be recorded yet and are tried again; of all replicas the largest holds.",
    registry=REGISTRY,
)
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 600.0
_IDLE_SECONDS = 60.0


@dataclass
class _Wait:
    """When a result is tried next, and how long it waits if that fails, in seconds of this replica's own clock."""

    due: float
    pause: float

    def again(self, now: float) -> None:
        self.due, self.pause = now + self.pause, min(2 * self.pause, _LONGEST_PAUSE)


class Parked:
    """Tries what is parked in the order of the feed, each with longer and longer pauses while that does not help.

    Also what is of jobs that were deleted meanwhile: models outlive them. The pauses are this replica's own, by no
    clock that jumps; any number of replicas may try at once.
    """

    def __init__(
        self,
        db: Database,
        recorder: Recorder,
        *,
        jobs: JobServiceAsyncStub,
        changed: Notifier,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._recorder = recorder
        self._jobs = jobs
        self._parked = changed.listen(PARKED)
        self._clock = clock
        self._waits: dict[int, _Wait] = {}
        self._away_for: int | None = None

    async def try_again(self) -> None:
        """Try each that is due; what still cannot be recorded stays and holds up no other.

        Where a neighbour does not answer for one, no other asks it in this pass, and the next begins with another.
        """
        due = await self._due()
        self._away_for = None
        for each in due:
            if await self._succeeds(each):
                del self._waits[each.sequence]
            else:
                self._waits[each.sequence].again(self._clock())
        if any(each.sequence not in self._waits for each in due):
            # What was in the way of one may be out of the way of others.
            self._waits = {sequence: _Wait(self._clock() + _FIRST_PAUSE, _FIRST_PAUSE) for sequence in self._waits}
        WAITING.set(len(self._waits))

    async def pause(self) -> None:
        """Until it is time to try one."""
        now = self._clock()
        due = min((wait.due for wait in self._waits.values()), default=now + _IDLE_SECONDS)
        if await self._parked.wait(max(0.0, due - now)):
            # It has only just failed.
            await asyncio.sleep(_FIRST_PAUSE)

    async def _due(self) -> list[ParkedResult]:
        async with self._db.read() as tx:
            found = await results.parked(tx)
        now = self._clock()
        self._waits = {each.sequence: self._waits.get(each.sequence) or _Wait(now, _FIRST_PAUSE) for each in found}
        due = [each for each in found if self._waits[each.sequence].due <= now]
        behind = self._away_for or 0
        return sorted(due, key=lambda each: (each.sequence <= behind, each.sequence))

    async def _succeeds(self, parked: ParkedResult) -> bool:
        if self._away_for is None:
            with guarded(LOOP, job=parked.job):
                await self._try(parked)
                return True
        return False

    async def _try(self, parked: ParkedResult) -> None:
        try:
            async with self._db.read() as tx:
                item = await results.parked_item(tx, parked.sequence)
            await self._record(item or await self._from_feed(parked.sequence))
        except Exception as error:
            if isinstance(error, grpc.aio.AioRpcError) and error.code() in _AWAY:
                self._away_for = parked.sequence
            async with self._db.write() as tx:
                await results.note_reason(tx, parked.sequence, reason_of(error))
            raise

    async def _record(self, item: FeedItem) -> None:
        take = partial(results.unpark, sequence=item.result.sequence)
        try:
            await self._recorder.record(item, take, again=True)
        except Exception as error:
            if not is_hopeless(error):
                raise
            await self._recorder.refuse(item, error, take)

    async def _from_feed(self, sequence: int) -> FeedItem:
        """A result of which no more is parked than its sequence. Raise FailedPrecondition RESULT_UNREADABLE."""
        request = ListJobResultsRequest(after_sequence=sequence - 1, page_size=1, accept_unreadable=True)
        for item in (await self._jobs.ListJobResults(request)).results:
            if item.result.sequence == sequence:
                return item
        raise FailedPrecondition(
            "RESULT_UNREADABLE", "what is parked of it cannot be read, and the feed has it no more"
        )
