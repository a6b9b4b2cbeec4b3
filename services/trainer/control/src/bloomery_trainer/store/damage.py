"""Rows of jobs that cannot be read: each is told apart, so that it is no trouble of the others'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from bloomery_trainer.store.tables import jobs

T = TypeVar("T")


@dataclass(frozen=True)
class Damaged:
    """A job, or its present attempt, that cannot be read, for `error`, and what is known of it all the same."""

    uid: str
    number: int
    attempt: int
    end_time: datetime | None
    error: ValueError


def read(row: sa.Row[Any], make: Callable[[Sequence[Any]], T]) -> T | Damaged:
    """What is made of a row with columns of a job, or that it is damaged."""
    try:
        return make(row)
    except ValueError as error:
        known = row._mapping  # noqa: SLF001 - so it is called for everybody
        return Damaged(known[jobs.c.uid], known[jobs.c.number], known[jobs.c.attempt], known[jobs.c.end_time], error)


def whole(found: T | Damaged) -> T:
    """What was found. Raise the error of what is damaged."""
    if isinstance(found, Damaged):
        raise found.error
    return found


def divided(found: Sequence[T | Damaged]) -> tuple[list[T], list[Damaged]]:
    """What is whole, and what is damaged."""
    damaged = [each for each in found if isinstance(each, Damaged)]
    return [each for each in found if not isinstance(each, Damaged)], damaged
