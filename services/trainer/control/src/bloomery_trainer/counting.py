"""How long jobs have waited and worked: counted by the leader's own clock, and kept in their rows for the next leader.

No system clock is asked, so that one that is wrong, or that jumps, makes nobody late. A new leader goes on from the
rows: of what was not kept, and of the time in which nobody led, nothing counts, and nothing counts twice.
"""

import heapq
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from bloomery_kit.database import Transaction
from bloomery_trainer.model import Attempt, Job, State, Waiting
from bloomery_trainer.store import attempts, jobs

_WORTH_KEEPING = 1.0
_OF_THE_LIMIT = 0.01
_AT_ONCE = 500


@dataclass(frozen=True)
class _Mark:
    value: Hashable
    base: float
    since: float


class _Totals:
    """Seconds that grow while a value stays the same, from what a row says when it is seen for the first time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marks: dict[str, _Mark] = {}
        self._used: set[str] = set()

    def of(self, uid: str, value: Hashable, stored: float) -> float:
        now, mark = self._clock(), self._marks.get(uid)
        if mark is None or mark.value != value:
            mark = self._marks[uid] = _Mark(value, stored, now)
        self._used.add(uid)
        return mark.base + now - mark.since

    def forget_unused(self) -> None:
        self._marks = {uid: self._marks[uid] for uid in self._used}
        self._used.clear()


class Counts:
    """Counts during one tenure of a leader. Without a `queue_timeout` nobody asks how long a job waits."""

    def __init__(self, queue_timeout: float, clock: Callable[[], float]) -> None:
        self._limit = queue_timeout
        self._queued, self._worked = _Totals(clock), _Totals(clock)

    def queued(self, job: Job | Waiting) -> float:
        """Seconds without being launched since the job last became PENDING."""
        waits = isinstance(job, Waiting) or job.state in (State.PENDING, State.QUEUED)
        if not waits or self._limit <= 0:
            return job.queued_seconds
        return self._queued.of(job.uid, job.queue_time, job.queued_seconds)

    def worked(self, attempt: Attempt | None) -> float:
        """Seconds of an attempt's present worker; 0 where there is none any more, whose time the job has then."""
        if attempt is None or attempt.started_at is None or attempt.ended_at is not None:
            return 0.0
        return self._worked.of(attempt.job_uid, (attempt.number, attempt.worker_id), attempt.worked_seconds)

    def work_to_keep(self, present: Iterable[tuple[Job, Attempt | None]]) -> list[tuple[Attempt, float]]:
        """Attempts whose totals have grown since they were written, of jobs of which somebody asks for them."""
        asked = [attempt for job, attempt in present if job.spec.deadline_seconds or job.resources.gpus]
        totals = [(attempt, self.worked(attempt)) for attempt in asked if attempt is not None]
        return [each for each in totals if each[1] - each[0].worked_seconds >= _WORTH_KEEPING]

    def waits_to_keep(self, waiting: Iterable[Job | Waiting]) -> list[tuple[Job | Waiting, float]]:
        """Some of the jobs whose totals have grown by much since they were written: those by the most."""
        totals = [(job, self.queued(job)) for job in waiting] if self._limit > 0 else []
        grown = [each for each in totals if _growth(each) > self._limit * _OF_THE_LIMIT]
        return heapq.nlargest(_AT_ONCE, grown, key=_growth)

    def forget_unused(self) -> None:
        """Drop what nobody has asked for since the last call."""
        self._queued.forget_unused()
        self._worked.forget_unused()


def _growth(total: tuple[Job | Waiting, float]) -> float:
    return total[1] - total[0].queued_seconds


async def keep(
    tx: Transaction, worked: Iterable[tuple[Attempt, float]], waited: Iterable[tuple[Job | Waiting, float]]
) -> None:
    """Write totals to the rows that they were counted for; one that has moved on keeps what it has."""
    for attempt, seconds in worked:
        await attempts.count(tx, attempt, seconds)
    for job, seconds in waited:
        await jobs.count(tx, job, seconds)
