"""Rows of jobs that cannot be read: each is told apart, so that it is no trouble of the others'."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from bloomery_kit.errors import FailedPrecondition
from bloomery_trainer.model import Resources
from bloomery_trainer.store.tables import jobs

T = TypeVar("T")
_log = logging.getLogger("bloomery.trainer")
RESOURCES = [jobs.c[column.name] for column in fields(Resources)]


@dataclass(frozen=True)
class Damaged:
    """A job, or its present attempt, that cannot be read, for `error`, and what is known of it all the same."""

    uid: str
    number: int
    project: str
    priority: int
    resources: Resources
    attempt: int
    error: ValueError
    end_time: datetime | None = None


def read(row: sa.Row[Any], make: Callable[[Sequence[Any]], T]) -> T | Damaged:
    """What is made of a row with columns of a job, also RESOURCES, or that it is damaged."""
    try:
        return make(row)
    except ValueError as error:
        known = row._mapping  # noqa: SLF001 - so it is called for everybody
        return Damaged(
            uid=known[jobs.c.uid],
            number=known[jobs.c.number],
            project=known[jobs.c.project],
            priority=known[jobs.c.priority],
            resources=Resources(*(known[column] for column in RESOURCES)),
            attempt=known[jobs.c.attempt],
            error=error,
            end_time=known.get(jobs.c.end_time),
        )


def divided(found: Sequence[T | Damaged]) -> tuple[list[T], list[Damaged]]:
    """What is whole, and what is damaged."""
    damaged = [each for each in found if isinstance(each, Damaged)]
    return [each for each in found if not isinstance(each, Damaged)], damaged


class JobUnreadableError(FailedPrecondition):
    """The row of a job, or of its result, cannot be read."""

    def __init__(self, name: str, problem: ValueError) -> None:
        hint = "whoever runs the server mends its row, as docs/operations.md says"
        super().__init__("JOB_UNREADABLE", f"{name}: {problem}; {hint}")


@contextmanager
def refused(name: str) -> Iterator[None]:
    """Raise JobUnreadableError for what cannot be read of the job of that name."""
    try:
        yield
    except ValueError as error:
        raise JobUnreadableError(name, error) from error


class Complaints:
    """Says of each job once what is damaged about it, however often somebody comes across it."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def tell(self, job_uid: str, problem: ValueError) -> None:
        """Log it, unless it was told before."""
        if self._told.get(job_uid) != str(problem):
            self._told[job_uid] = str(problem)
            _log.error("a job cannot be read", extra={"job": job_uid, "error": problem})

    def whole(self, found: Sequence[T | Damaged]) -> list[T]:
        """What is not damaged; the rest is told."""
        left, damaged = divided(found)
        for each in damaged:
            self.tell(each.uid, each.error)
        return left
