"""The streams of JobService: views of the logs, which end cleanly and are taken up again by a cursor."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from bloomery.training.v1 import JobEvent, WatchJobResponse, WatchJobResultsResponse
from bloomery_kit.feeds import follow_log
from bloomery_trainer import convert, metrics
from bloomery_trainer.core import Core
from bloomery_trainer.feed import RESULTS, coalesced
from bloomery_trainer.model import TERMINAL, Job
from bloomery_trainer.reading import Reading, check_cursor
from bloomery_trainer.store.results import Line

E = TypeVar("E")
_TERMINAL = frozenset(state.value for state in TERMINAL)
_RESULTS = 100
_RESULTS_RARER = 10
_AGE_SPREAD = 0.2


class Streams:
    """Serves watches until they are complete, too old, or the server drains."""

    def __init__(self, core: Core, draining: asyncio.Event, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._reading = Reading(core)
        self._draining = draining
        self._clock = clock

    async def job(self, project: str, job_id: str, after: int | None) -> AsyncIterator[WatchJobResponse]:
        """A snapshot, then the events past `after`. Raise NotFound, OutOfRange."""
        job, result = await self._reading.job(project, job_id)
        cursor = job.oldest_sequence - 1 if after is None else after
        check_cursor(job, cursor)
        if after:
            metrics.WATCH_RESUMES.inc()
        with self._counted("job"), self._core.feed.follow(job.uid, job.last_sequence):
            yield WatchJobResponse(snapshot=convert.job_message(job, result))
            if job.state.is_terminal and cursor >= job.last_sequence:
                return
            async for message in self._events(job, cursor):
                yield message

    async def results(self, after: int, *, accept_unreadable: bool) -> AsyncIterator[WatchJobResultsResponse]:
        """The results past `after`, then live ones. Raise FailedPrecondition RESULT_UNREADABLE."""
        expires = self._expires()

        async def read(cursor: int) -> Sequence[Line]:
            return await self._reading.feed(cursor, _RESULTS)

        with self._counted("results"):
            async for batch in self._follow(
                read,
                after,
                lambda line: line.sequence,
                RESULTS,
                self._results_poll(),
            ):
                if not batch:
                    yield WatchJobResultsResponse(sequence=after)
                for line in batch:
                    after = line.sequence
                    item = convert.feed_item(line, accept_unreadable=accept_unreadable)
                    yield WatchJobResultsResponse(sequence=after, item=item)
                if self._clock() >= expires:
                    metrics.WATCH_CLOSED.labels("age").inc()
                    return

    async def _events(self, job: Job, cursor: int) -> AsyncIterator[WatchJobResponse]:
        expires = self._expires()
        behind = cursor < job.last_sequence

        async def read(after: int) -> Sequence[JobEvent]:
            nonlocal behind
            # The replay is whole; only a watcher that was live and fell behind gets less.
            behind = behind and after < job.last_sequence
            slow = not behind and self._core.feed.lags(job.uid, after)
            found = await self._core.feed.read(job.uid, after)
            return coalesced(found) if slow else found

        async for batch in self._follow(
            read, cursor, lambda event: event.sequence, job.uid, self._core.settings.watch_heartbeat
        ):
            if not batch:
                yield WatchJobResponse(sequence=cursor)
            for event in batch:
                cursor = event.sequence
                yield WatchJobResponse(sequence=cursor, event=event)
                metrics.WATCH_EVENTS.inc()
                if _seals(event):
                    return
            if self._clock() >= expires:
                metrics.WATCH_CLOSED.labels("age").inc()
                return

    def _follow(
        self,
        read: Callable[[int], Awaitable[Sequence[E]]],
        after: int,
        sequence: Callable[[E], int],
        key: str,
        poll: float,
    ) -> AsyncIterator[Sequence[E]]:
        return follow_log(
            read,
            after=after,
            sequence=sequence,
            changed=self._core.feed.changed,
            key=key,
            draining=self._draining,
            poll=poll,
            heartbeat=self._core.settings.watch_heartbeat,
        )

    def _results_poll(self) -> float:
        # Its watchers are there day and night, and what comes once in a training is early enough a little later.
        poll, heartbeat = self._core.feed.poll, self._core.settings.watch_heartbeat
        return heartbeat if poll is None else min(_RESULTS_RARER * poll, heartbeat)

    def _expires(self) -> float:
        # Spread, so that watches that began together do not all come back together.
        spread = random.uniform(1 - _AGE_SPREAD, 1 + _AGE_SPREAD)  # noqa: S311
        return self._clock() + self._core.settings.watch_age * spread

    @contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        metrics.WATCHES.labels(kind).inc()
        try:
            yield
        finally:
            metrics.WATCHES.labels(kind).dec()
            if self._draining.is_set():
                metrics.WATCH_CLOSED.labels("drain").inc()


def _seals(event: JobEvent) -> bool:
    return event.WhichOneof("event") == "state_changed" and event.state_changed.to_state in _TERMINAL
