"""Rows of jobs that cannot be read: each is told apart, so that it is no trouble of the others'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from bloomery_trainer.model import Resources
from bloomery_trainer.store.tables import jobs

T = TypeVar("T")
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
    end_time: datetime | None
    error: ValueError


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
            end_time=known[jobs.c.end_time],
            error=error,
        )


def whole(found: T | Damaged) -> T:
    """What was found. Raise the error of what is damaged."""
    if isinstance(found, Damaged):
        raise found.error
    return found


def divided(found: Sequence[T | Damaged]) -> tuple[list[T], list[Damaged]]:
    """What is whole, and what is damaged."""
    damaged = [each for each in found if isinstance(each, Damaged)]
    return [each for each in found if not isinstance(each, Damaged)], damaged
