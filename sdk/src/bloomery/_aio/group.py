"""Groups of jobs."""

from collections.abc import AsyncIterator
from typing import Self

from bloomery._aio.base import AsyncHandle
from bloomery._aio.job import AsyncJob, list_jobs
from bloomery._fields import JobGroupFields
from bloomery._names import parent_of
from bloomery._search import best
from bloomery._session import Session
from bloomery.training import v1 as training


class AsyncJobGroup(AsyncHandle[training.JobGroup], JobGroupFields):
    """Jobs of a project that belong together."""

    async def refresh(self) -> Self:
        """Read it again."""
        request = training.GetJobGroupRequest(name=self.name)
        self._proto = await self._session.call(self._session.jobs.GetJobGroup, request)
        return self

    async def jobs(self) -> AsyncIterator[AsyncJob]:
        """List its jobs, newest first."""
        async for job in list_jobs(self._session, parent_of(self.name), f"group:{self.id}"):
            yield job

    async def best(self, by: str = "") -> AsyncJob:
        """The one of its jobs that has succeeded with the best measurement.

        Args:
            by: which measurement, such as "map50" or "recall/platelets" for those of the validation images; of losses
                the smallest is the best. By default each job's `best_by`, else "val/map50_95" or "val/accuracy".

        Raises:
            NotFound: none has succeeded, or none was measured so.
        """
        jobs = [job async for job in self.jobs()]
        return jobs[best(jobs, by, self.id)]

    async def cancel(self, *, force: bool = False) -> Self:
        """Ask all its jobs to stop, after a checkpoint unless `force`; returns at once."""
        request = training.CancelJobGroupRequest(name=self.name, force=force)
        self._proto = await self._session.call(self._session.jobs.CancelJobGroup, request)
        return self

    async def wait(self) -> Self:
        """Wait until all its jobs are over, one way or another."""
        async for job in self.jobs():
            async for _ in job.watch(after=job.proto.last_sequence):
                pass
        return await self.refresh()


async def get_job_group(session: Session, name: str) -> AsyncJobGroup:
    """Read a group by its full name."""
    request = training.GetJobGroupRequest(name=name)
    return AsyncJobGroup(session, await session.call(session.jobs.GetJobGroup, request))
