"""Groups of jobs."""

from bloomery._aio.group import AsyncJobGroup
from bloomery._fields import JobGroupFields
from bloomery._sync.base import Handle
from bloomery._sync.job import Job
from bloomery._sync.portal import chained, listing, wrapping
from bloomery.training import v1 as training


class JobGroup(Handle[training.JobGroup], JobGroupFields):
    """Jobs of a project that belong together."""

    refresh = chained(AsyncJobGroup.refresh)
    jobs = listing(AsyncJobGroup.jobs, Job)
    best = wrapping(AsyncJobGroup.best, Job)
    cancel = chained(AsyncJobGroup.cancel)
    wait = chained(AsyncJobGroup.wait)
