"""Jobs, and the model versions that they make.

One module, because each returns the other: a job the version that it made, a version the jobs that apply it.
"""

from collections.abc import AsyncIterator
from pathlib import Path

from bloomery._adapters import merge_job
from bloomery._aio.batches import AsyncBatches
from bloomery._aio.work import AsyncWork
from bloomery._names import parent_of
from bloomery._session import Session
from bloomery._versions import recorded_version
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


class AsyncJob(AsyncWork):
    """A piece of work."""

    async def model_version(self, *, patience: float = 60.0) -> "AsyncModelVersion":
        """The model version that it made, which is recorded soon after the job is over: within `patience` seconds.

        Raises:
            NotFound: none was recorded.
        """
        version = await recorded_version(self._session, self.name, self.proto.uid, patience)
        return AsyncModelVersion(self._session, version)


async def list_jobs(session: Session, parent: str, filter: str = "") -> AsyncIterator[AsyncJob]:
    """The jobs of a project, or of all with the wildcard, newest first."""
    request = training.ListJobsRequest(parent=parent, filter=filter)
    async for page in session.pages(session.jobs.ListJobs, request):
        for job in page.jobs:
            yield AsyncJob(session, job)


class AsyncModelVersion(AsyncBatches[AsyncJob]):
    """A trained model with the proof of where it came from."""

    async def descendants(self) -> AsyncIterator["AsyncModelVersion"]:
        """List the versions that were trained from it, newest first."""
        async for version in list_descendants(self._session, parent_of(self.name, 2), f"base:{self.name}"):
            yield version

    async def merge(self, base: str | Path | None = None, *, model: str = "", name: str = "") -> AsyncJob:
        """Start a job that puts its adapter on its base again, and return the job, whose `model_version` is the result.

        For a version that was trained with an adapter (`method=lora`): the result predicts as it does. What is there
        already does not travel again.

        Args:
            base: the file of the base weights, whose digest must be that of the training's; by default the recipe
                finds them by their name, as for a training.
            model: the model to publish under; by default its own.
            name: id of the job; made by the server by default.

        Raises:
            FailedPrecondition: it has no adapter.
            InvalidArgument: there is no such file.
            TransferFailed: the object store cannot be reached.
        """
        job = await merge_job(self._session, self.proto, base, model)
        request = training.CreateJobRequest(parent=parent_of(self.name, 2), job_id=name, job=job)
        return AsyncJob(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    def _job(self, job: training.Job) -> AsyncJob:
        return AsyncJob(self._session, job)


async def list_descendants(session: Session, project: str, origin: str) -> AsyncIterator[AsyncModelVersion]:
    """The versions of a project's models that come from an origin, such as `base:NAME`, also inactive ones."""
    request = inference.ListModelVersionsRequest(parent=f"{project}/models/-", show_inactive=True, filter=origin)
    async for page in session.pages(session.models.ListModelVersions, request):
        for version in page.model_versions:
            yield AsyncModelVersion(session, version)
