"""Results that could not be recorded for a reason that may pass: tried again until they are."""

from __future__ import annotations

import asyncio
from functools import partial

from prometheus_client import Gauge

from bloomery.training.v1 import FeedItem
from bloomery_inference.recording import Recorder, is_hopeless, reason_of
from bloomery_inference.store import results
from bloomery_inference.store.results import ParkedResult
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import guarded
from bloomery_kit.metrics import REGISTRY

LOOP = "inference parked results"
PARKED = "parked results"
"""Key of the notifier that says that a result was parked."""
WAITING = Gauge(
    "bloomery_inference_parked_results",
    "Results of jobs that could not be recorded yet and are tried again; of all replicas the largest holds.",
    registry=REGISTRY,
)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 600.0
_IDLE_SECONDS = 60.0
_BATCH = 100


class Parked:
    """Tries all that is parked in the order of the feed, with longer and longer pauses while that does not help.

    Also what is of jobs that were deleted meanwhile: models outlive them. The pauses are this replica's own, by no
    clock that jumps; any number of replicas may try at once.
    """

    def __init__(self, db: Database, recorder: Recorder, *, changed: Notifier) -> None:
        self._db = db
        self._recorder = recorder
        self._parked = changed.listen(PARKED)
        self._pause = _FIRST_PAUSE

    async def try_again(self) -> None:
        """Try each once; what still cannot be recorded stays and holds up no other."""
        left = tried = after = 0
        while batch := await self._page(after):
            for each in batch:
                tried, left = tried + 1, left + 1
                with guarded(LOOP, job=each.job):
                    await self._try(each.item())
                    left -= 1
            after = batch[-1].sequence
        WAITING.set(left)
        self._pause = self._next_pause(left=left, tried=tried)

    def _next_pause(self, *, left: int, tried: int) -> float:
        if not left:
            return _IDLE_SECONDS
        # What was in the way of one may be out of the way of others.
        return _FIRST_PAUSE if left < tried else min(2 * self._pause, _LONGEST_PAUSE)

    async def pause(self) -> None:
        """Until it is time to try again."""
        if await self._parked.wait(self._pause):
            # It has only just failed.
            self._pause = _FIRST_PAUSE
            await asyncio.sleep(self._pause)

    async def _page(self, after: int) -> list[ParkedResult]:
        async with self._db.read() as tx:
            return await results.parked(tx, after=after, limit=_BATCH)

    async def _try(self, item: FeedItem) -> None:
        take = partial(results.unpark, sequence=item.result.sequence)
        try:
            await self._recorder.record(item, take, again=True)
        except Exception as error:
            if not is_hopeless(error):
                async with self._db.write() as tx:
                    await results.note_reason(tx, item.result.sequence, reason_of(error))
                raise
            await self._recorder.refuse(item, error, take)
