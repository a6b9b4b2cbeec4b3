"""Follows the trainer's results and records what is a model's: a version for each TRAIN or IMPORT, and variants.

The feed is read from the last sequence that was taken. A result that makes no sense is refused; one that cannot be
recorded for a reason that may pass is parked. So none holds up those behind it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from bloomery.training.v1 import FeedItem, WatchJobResultsRequest
from bloomery_inference.parked import PARKED
from bloomery_inference.recording import Recorder, Take, is_hopeless, reason_of
from bloomery_inference.store import results
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

FEED = "job-results"
RESULTS_LOOP = "inference results"
_log = logging.getLogger("bloomery.inference")


class Follower:
    """Reads the feed of results."""

    def __init__(
        self,
        db: Database,
        recorder: Recorder,
        *,
        jobs: JobServiceAsyncStub,
        changed: Notifier,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._recorder = recorder
        self._jobs = jobs
        self._changed = changed
        self._clock = clock

    async def follow_results(self) -> None:
        """Take results until the trainer ends the stream. Raise what keeps all of them from being taken."""
        async with self._db.read() as tx:
            sequence = await results.feed_sequence(tx, FEED)
        request = WatchJobResultsRequest(after_sequence=sequence, accept_unreadable=True)
        async for message in self._jobs.WatchJobResults(request):
            if message.HasField("item"):
                await self.take(message.item)

    async def take(self, item: FeedItem) -> None:
        """Record, refuse or park one result. One that was taken before changes nothing."""
        take = partial(results.advance_feed, name=FEED, sequence=item.result.sequence)
        try:
            await self._recorder.record(item, take)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up those behind it
            if is_hopeless(error):
                await self._recorder.refuse(item, error, take)
            else:
                await self._park(item, error, take)

    async def _park(self, item: FeedItem, error: Exception, take: Take) -> None:
        reason = reason_of(error)
        _log.warning("a result is parked", extra={"job": item.job.name, "reason": reason}, exc_info=error)
        async with self._db.write() as tx:
            if await take(tx):
                await results.park(tx, item, reason, self._clock())
        self._changed.notify(PARKED)
