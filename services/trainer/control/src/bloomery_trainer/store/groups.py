"""Groups of jobs: rows of the job table that share a `group`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import sqlalchemy as sa

from bloomery_kit.database import Transaction
from bloomery_kit.errors import NotFound
from bloomery_trainer.model import TERMINAL, Progress, State
from bloomery_trainer.store.tables import jobs


@dataclass(frozen=True)
class JobGroup:
    """The jobs of a project that share a `group`; `fraction` is the mean of the parts that are done."""

    project: str
    group_id: str
    states: Mapping[State, int]
    fraction: float
    create_time: datetime
    update_time: datetime

    @property
    def name(self) -> str:
        """The resource name."""
        return f"{self.project}/jobGroups/{self.group_id}"


_COLUMNS = (jobs.c.group, jobs.c.state, jobs.c.progress, jobs.c.create_time, jobs.c.update_time)


async def get(tx: Transaction, project: str, group: str) -> JobGroup:
    """A group as it is. Raise NotFound if no job belongs to it."""
    for found in await _groups(tx, project, [group]):
        return found
    raise NotFound("job group", f"{project}/jobGroups/{group}", "list the groups of the project")


async def listed(tx: Transaction, project: str, *, after: str, limit: int) -> Sequence[JobGroup]:
    """The groups of a project by id, past `after`."""
    ids = sa.select(jobs.c.group).where(jobs.c.project == project, jobs.c.group > after, ~jobs.c.deleted)
    found: list[str] = list(await tx.scalars(ids.distinct().order_by(jobs.c.group).limit(limit)))
    return await _groups(tx, project, found)


async def open_job_ids(tx: Transaction, project: str, group: str) -> Sequence[str]:
    """The ids of its jobs that are not terminal, in the order of creation; they stay so in this transaction."""
    query = sa.select(jobs.c.job_id).where(
        jobs.c.project == project, jobs.c.group == group, jobs.c.state.not_in(TERMINAL)
    )
    return list(await tx.scalars(query.order_by(jobs.c.number).with_for_update()))


async def _groups(tx: Transaction, project: str, ids: Sequence[str]) -> list[JobGroup]:
    query = sa.select(*_COLUMNS).where(jobs.c.project == project, jobs.c.group.in_(ids), ~jobs.c.deleted)
    rows = (await tx.execute(query.order_by(jobs.c.group))).all()
    return [_group(project, group, list(members)) for group, members in groupby(rows, key=lambda row: str(row.group))]


def _group(project: str, group: str, members: Sequence[sa.Row[tuple[object, ...]]]) -> JobGroup:
    return JobGroup(
        project=project,
        group_id=group,
        states=Counter(row.state for row in members),
        # What cannot be read of one is no reason to hide the others.
        fraction=sum(row.progress.fraction for row in members if isinstance(row.progress, Progress)) / len(members),
        create_time=min(row.create_time for row in members),
        update_time=max(row.update_time for row in members),
    )
