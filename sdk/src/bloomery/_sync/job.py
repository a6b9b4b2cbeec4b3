"""Jobs and recipes."""

from bloomery._aio.job import AsyncJob, AsyncJobGroup
from bloomery._fields import JobFields, JobGroupFields, RecipeFields
from bloomery._sync.base import Handle
from bloomery._sync.model import ModelVersion
from bloomery._sync.portal import blocking, chained, iterating, listing, wrapping
from bloomery.training import v1 as training


class Recipe(Handle[training.Recipe], RecipeFields):
    """A way to make a model."""


class Job(Handle[training.Job], JobFields):
    """A piece of work."""

    refresh = chained(AsyncJob.refresh)
    watch = iterating(AsyncJob.watch)
    wait = chained(AsyncJob.wait)
    update = chained(AsyncJob.update)
    cancel = chained(AsyncJob.cancel)
    pause = chained(AsyncJob.pause)
    resume = chained(AsyncJob.resume)
    delete = blocking(AsyncJob.delete)
    logs = iterating(AsyncJob.logs)
    preflight = blocking(AsyncJob.preflight)
    samples = blocking(AsyncJob.samples)
    epochs = blocking(AsyncJob.epochs)
    download = blocking(AsyncJob.download)
    evaluations = blocking(AsyncJob.evaluations)
    reproduce = wrapping(AsyncJob.reproduce, lambda portal, twin: Job(portal, twin))  # noqa: PLW0108 - not there yet
    model_version = wrapping(AsyncJob.model_version, ModelVersion)


class JobGroup(Handle[training.JobGroup], JobGroupFields):
    """Jobs of a project that belong together."""

    refresh = chained(AsyncJobGroup.refresh)
    jobs = listing(AsyncJobGroup.jobs, Job)
    cancel = chained(AsyncJobGroup.cancel)
    wait = chained(AsyncJobGroup.wait)
