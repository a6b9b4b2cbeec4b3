"""Watching jobs: one feed for each replica reads what its watchers need, and they read the feed.

A watcher has no queue, only a cursor, so a slow one costs no memory: it falls behind the feed's buffer, reads the log
itself, and gets measurements merged.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from bloomery.training.v1 import JobEvent
from bloomery_kit.database import Database
from bloomery_kit.errors import BloomeryError
from bloomery_kit.feeds import Notifier
from bloomery_trainer import metrics
from bloomery_trainer.store import events, jobs

BUFFERED = 2000
RESULTS = "results"
_PAGE_ROWS = 100
_log = logging.getLogger("bloomery.trainer.watch")


@dataclass
class _Topic:
    head: int
    watchers: int = 0
    buffer: deque[JobEvent] = field(default_factory=lambda: deque(maxlen=BUFFERED))


class EventFeed:
    """The new events of the jobs that this replica's watchers watch. Belongs to one event loop.

    `reads` counts how often a log was read.
    """

    def __init__(self, db: Database, *, poll: float) -> None:
        self.changed = Notifier()
        self.reads = 0
        self._db = db
        self._poll = poll
        self._topics: dict[str, _Topic] = {}
        self._dirty: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._due = 0.0

    def committed(self, job_uid: str) -> None:
        """A job's log has grown in this process."""
        if job_uid in self._topics:
            self._dirty.setdefault(job_uid, time.monotonic())
            self._wake.set()

    @contextmanager
    def follow(self, job_uid: str, head: int) -> Iterator[None]:
        """Take part in the feed of a job whose last known sequence is `head`."""
        topic = self._topics.setdefault(job_uid, _Topic(head))
        topic.watchers += 1
        # What was committed between the caller's read and this line is found at the next turn.
        self.committed(job_uid)
        try:
            yield
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                del self._topics[job_uid]

    async def read(self, job_uid: str, after: int) -> Sequence[JobEvent]:
        """The events past `after`: from the feed if it still has them, else a page of the log."""
        topic = self._topics.get(job_uid)
        if topic is not None and after >= topic.head:
            return ()
        if topic is not None and topic.buffer and topic.buffer[0].sequence <= after + 1:
            return [event for event in topic.buffer if event.sequence > after]
        self.reads += 1
        async with self._db.read() as tx:
            return await events.read(tx, job_uid, after, rows=_PAGE_ROWS)

    def lags(self, job_uid: str, after: int) -> bool:
        """Whether a watcher at `after` has fallen out of the feed."""
        topic = self._topics.get(job_uid)
        return topic is not None and bool(topic.buffer) and after + 1 < topic.buffer[0].sequence

    async def run(self) -> None:
        """Keep reading until cancelled: at once what was committed here, every `poll` seconds what was elsewhere."""
        while True:
            try:
                await self._turn()
            except BloomeryError as error:
                _log.warning("the event feed cannot read", extra={"error": error})
                await asyncio.sleep(self._poll)

    async def _turn(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._due):
                await self._wake.wait()
        dirty, self._dirty = self._dirty, {}
        self._wake.clear()
        # By the clock, not by silence: a busy replica is woken all the time, and would never look elsewhere.
        now = asyncio.get_running_loop().time()
        is_due = now >= self._due
        if is_due:
            self._due = now + self._poll
        if wanted := list(self._topics if is_due else dirty):
            await self._refresh(wanted)
        for since in dirty.values():
            metrics.WATCH_LAG.observe(time.monotonic() - since)

    async def _refresh(self, uids: Sequence[str]) -> None:
        async with self._db.read() as tx:
            for uid, head in (await jobs.heads(tx, uids)).items():
                topic = self._topics.get(uid)
                if topic is None or head <= topic.head:
                    continue
                self.reads += 1
                found = await events.read(tx, uid, topic.head, rows=_PAGE_ROWS)
                topic.buffer.extend(found)
                topic.head = found[-1].sequence if found else head
                self.changed.notify(uid)
                if topic.head < head:
                    self.committed(uid)


def coalesced(found: Sequence[JobEvent]) -> list[JobEvent]:
    """The same events with each run of measurements inside an epoch merged into its last one.

    The merged event holds the newest value of each metric and says from which sequence on it stands.
    """
    merged: list[JobEvent] = []
    for event in found:
        last = merged[-1] if merged else None
        if last is not None and _merges(last) and _merges(event):
            merged[-1] = _merged(last, event)
            metrics.WATCH_COALESCED.inc()
        else:
            merged.append(event)
    return merged


def _merges(event: JobEvent) -> bool:
    return event.WhichOneof("event") == "metrics" and not event.metrics.epoch_end


def _merged(first: JobEvent, last: JobEvent) -> JobEvent:
    both = JobEvent()
    both.CopyFrom(last)
    for name, value in first.metrics.values.items():
        if name not in both.metrics.values:
            both.metrics.values[name] = value
    both.coalesced_from = first.coalesced_from or first.sequence
    return both
