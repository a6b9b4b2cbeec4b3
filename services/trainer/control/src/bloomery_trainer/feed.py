"""Watching jobs: one feed for each replica reads what its watchers need, and they read the feed.

A watcher has no queue, only a cursor, so a slow one costs no memory: it falls behind the feed's buffer, reads the log
itself, and gets measurements merged.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from bloomery.training.v1 import JobEvent
from bloomery_kit.database import Database
from bloomery_kit.errors import BloomeryError
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import guarded
from bloomery_trainer import metrics
from bloomery_trainer.store import events, jobs

LOOP = "event-feed"
BUFFERED = 2000
RESULTS = "results"
_PAGE_ROWS = 100


@dataclass
class _Topic:
    """What a job's watchers read: its newest events, whose sequences have no gaps, up to `head`."""

    head: int
    watchers: int = 0
    buffer: list[JobEvent] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The oldest sequence in the buffer; one past the head where it is empty."""
        return self.buffer[0].sequence if self.buffer else self.head + 1

    def extend(self, found: Sequence[JobEvent], head: int) -> None:
        if not found or found[0].sequence != self.head + 1:
            # Events in between are not kept any more.
            self.buffer.clear()
        self.buffer.extend(found)
        self.head = found[-1].sequence if found else head
        if len(self.buffer) > 2 * BUFFERED:
            del self.buffer[:-BUFFERED]


class EventFeed:
    """The new events of the jobs that this replica's watchers watch. Belongs to one event loop.

    It looks every `poll` seconds for what other replicas commit, never where that is None. `reads` counts how often a
    log was read.
    """

    def __init__(self, db: Database, *, poll: float | None) -> None:
        self.changed = Notifier()
        self.reads = 0
        self._db = db
        self.poll = poll
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
        if topic is not None and after + 1 >= topic.first:
            return topic.buffer[after + 1 - topic.first :]
        self.reads += 1
        async with self._db.read() as tx:
            return await events.read(tx, job_uid, after, rows=_PAGE_ROWS)

    def lags(self, job_uid: str, after: int) -> bool:
        """Whether a watcher at `after` has fallen out of the feed."""
        topic = self._topics.get(job_uid)
        return topic is not None and after + 1 < topic.first

    async def turn(self) -> None:
        """Wait for news of the jobs that are watched, and read it."""
        await self._news()
        dirty, self._dirty = self._dirty, {}
        self._wake.clear()
        try:
            await self._refresh(self._wanted(dirty))
        except BaseException:
            for uid, since in dirty.items():
                self._dirty.setdefault(uid, since)
            self._wake.set()
            raise
        for since in dirty.values():
            metrics.WATCH_LAG.observe(time.monotonic() - since)

    async def _news(self) -> None:
        polls = self._topics and self.poll is not None
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._due if polls else None):
                await self._wake.wait()

    def _wanted(self, dirty: Mapping[str, float]) -> Sequence[str]:
        # By the clock, not by silence: a busy replica is woken all the time, and would never look elsewhere.
        now = asyncio.get_running_loop().time()
        if self.poll is None or now < self._due:
            return list(dirty)
        self._due = now + self.poll
        return list(self._topics)

    async def _refresh(self, uids: Sequence[str]) -> None:
        if not uids:
            return
        async with self._db.read() as tx:
            for uid, head in (await jobs.heads(tx, uids)).items():
                topic = self._topics.get(uid)
                if topic is None or head <= topic.head:
                    continue
                self.reads += 1
                found: Sequence[JobEvent] = ()
                # Where one job's log cannot be read its own watchers meet the error, and nobody else.
                with guarded(LOOP, let=(BloomeryError, SQLAlchemyError), job=uid):
                    found = await events.read(tx, uid, topic.head, rows=_PAGE_ROWS)
                topic.extend(found, head)
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
