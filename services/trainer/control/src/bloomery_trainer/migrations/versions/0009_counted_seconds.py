"""The leader counts how long jobs wait and work by its own clock, and keeps it here.

An older replica that is still there leaves it alone, and adds the whole time of an attempt at its end as before.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0009"
down_revision = "0008"

_JOBS = sa.table(
    "jobs",
    sa.column("uid", sa.String),
    sa.column("state", sa.SmallInteger),
    sa.column("queue_time", UtcDateTime),
    sa.column("queued_seconds", sa.Float),
)
_ATTEMPTS = sa.table(
    "attempts",
    sa.column("job_uid", sa.String),
    sa.column("number", sa.Integer),
    sa.column("started_at", UtcDateTime),
    sa.column("ended_at", UtcDateTime),
    sa.column("worked_seconds", sa.Float),
)


def upgrade() -> None:
    """Go on from what the times of those say that wait or work now."""
    for table, column in (("jobs", "queued_seconds"), ("attempts", "worked_seconds")):
        op.add_column(table, sa.Column(column, sa.Float, nullable=False, server_default="0"))
    connection, now = op.get_bind(), datetime.now(UTC)
    waiting = sa.select(_JOBS.c.uid, _JOBS.c.queue_time).where(_JOBS.c.state.in_([1, 2]))
    for uid, since in connection.execute(waiting).all():
        seconds = _between(since, now)
        connection.execute(sa.update(_JOBS).where(_JOBS.c.uid == uid).values(queued_seconds=seconds))
    at_work = sa.select(_ATTEMPTS.c.job_uid, _ATTEMPTS.c.number, _ATTEMPTS.c.started_at).where(
        _ATTEMPTS.c.started_at.is_not(None), _ATTEMPTS.c.ended_at.is_(None)
    )
    for uid, number, since in connection.execute(at_work).all():
        same = (_ATTEMPTS.c.job_uid == uid, _ATTEMPTS.c.number == number)
        seconds = _between(since, now)
        connection.execute(sa.update(_ATTEMPTS).where(*same).values(worked_seconds=seconds))


def _between(since: object, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if isinstance(since, datetime) else 0.0
