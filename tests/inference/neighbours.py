"""The trainer and dataset services as this service sees them, with faults to order. The real ones are in tests/flow."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from bloomery.annotation import v1 as annotation
from bloomery.annotation.v1 import AnnotationServiceServicer, GetProjectRequest, Project
from bloomery.common.v1 import Reference
from bloomery.dataset.v1 import (
    AcquireReferenceRequest,
    DatasetServiceServicer,
    DatasetVersion,
    GetDatasetVersionRequest,
    ReleaseReferenceRequest,
)
from bloomery.training.v1 import (
    CreateJobRequest,
    FeedItem,
    GetJobRequest,
    Job,
    JobServiceServicer,
    JobState,
    ListJobResultsRequest,
    ListJobResultsResponse,
    ListJobsRequest,
    ListJobsResponse,
    Reason,
    WatchJobResultsRequest,
    WatchJobResultsResponse,
)
from bloomery_kit.times import to_timestamp, utc_now

PROJECT_UID = "p" * 32
Context = grpc.aio.ServicerContext[Any, Any]


class Trainer(JobServiceServicer):
    """Keeps jobs and a feed of results; ends every stream after what there is."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.created: list[CreateJobRequest] = []
        self.feed: list[FeedItem] = []
        self.refuse_creation = 0
        self.refusal = grpc.StatusCode.UNAVAILABLE
        self.outlook = Reason()
        """What a job would wait for."""
        self.uids: dict[str, str] = {}
        """Uids of the jobs that are there though nobody created them here."""
        self.asked: list[str] = []
        """Names of the jobs that somebody wanted to see."""

    def fail(self, name: str) -> None:
        reason = Reason(code="EXPORT_FAILED", message="the answers differ", hint="report it")
        self.jobs[name].MergeFrom(Job(state=JobState.JOB_STATE_FAILED, reason=reason))

    async def CreateJob(self, request: CreateJobRequest, context: Context) -> Job:
        if self.refuse_creation:
            self.refuse_creation -= 1
            await context.abort(self.refusal, "not now")
        if request.validate_only:
            return Job(reason=self.outlook)
        self.created.append(request)
        job = Job(name=f"{request.parent}/jobs/{request.job_id}", state=JobState.JOB_STATE_PENDING)
        return self.jobs.setdefault(job.name, job)

    async def GetJob(self, request: GetJobRequest, context: Context) -> Job:
        self.asked.append(request.name)
        if request.name in self.uids:
            return Job(name=request.name, uid=self.uids[request.name])
        if request.name not in self.jobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such job")
        return self.jobs[request.name]

    async def ListJobResults(self, request: ListJobResultsRequest, context: Context) -> ListJobResultsResponse:
        assert request.accept_unreadable
        found = [item for item in self.feed if item.result.sequence > request.after_sequence]
        return ListJobResultsResponse(results=found[: request.page_size])

    async def ListJobs(self, request: ListJobsRequest, context: Context) -> ListJobsResponse:
        assert request.filter == "active"
        start = int(request.page_token or 0)
        mine = [job for job in self.jobs.values() if job.name.startswith(f"{request.parent}/")]
        more = str(start + 1) if start + 1 < len(mine) else ""
        return ListJobsResponse(jobs=mine[start : start + 1], next_page_token=more)

    async def WatchJobResults(
        self, request: WatchJobResultsRequest, context: Context
    ) -> AsyncIterator[WatchJobResultsResponse]:
        assert request.accept_unreadable
        for item in self.feed:
            if item.result.sequence > request.after_sequence:
                yield WatchJobResultsResponse(sequence=item.result.sequence, item=item)


class Projects(AnnotationServiceServicer):
    """Keeps references to the project that has a uid now."""

    def __init__(self) -> None:
        self.uid = PROJECT_UID
        self.created = utc_now()
        self.held: set[str] = set()
        """Who holds it."""
        self.titles: dict[str, str] = {}
        self.asked: list[str] = []
        """Who wanted to hold it or know of it, also while it is down."""
        self.down = False
        self.assets: dict[str, annotation.Asset] = {}

    async def GetAsset(self, request: annotation.GetAssetRequest, context: Context) -> annotation.Asset:
        if request.name not in self.assets:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such asset")
        return self.assets[request.name]

    async def GetProject(self, request: GetProjectRequest, context: Context) -> Project:
        self.asked.append(request.name)
        return Project(name=request.name, uid=self.uid, create_time=to_timestamp(self.created))

    async def AcquireReference(self, request: annotation.AcquireReferenceRequest, context: Context) -> Reference:
        self.asked.append(request.holder)
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if request.uid != self.uid:
            await context.abort(grpc.StatusCode.NOT_FOUND, "another project has that name now")
        self.held.add(request.holder)
        self.titles[request.holder] = request.title
        return Reference(resource=request.resource, holder=request.holder)

    async def ReleaseReference(self, request: annotation.ReleaseReferenceRequest, context: Context) -> Empty:
        self.held.discard(request.holder)
        return Empty()


class Datasets(DatasetServiceServicer):
    """Keeps references."""

    def __init__(self) -> None:
        self.held: set[tuple[str, str]] = set()
        self.titles: dict[str, str] = {}
        """How people call the holders, by holder."""
        self.asked: list[str] = []
        """Who wanted to hold a version or to give it back, also while it is down."""
        self.down = False
        self.refused = ""
        """A dataset version that nobody may hold."""
        self.refusal = grpc.StatusCode.FAILED_PRECONDITION
        """How it is refused."""
        self.versions: dict[str, DatasetVersion] = {}
        """Those that are there, by name."""

    async def GetDatasetVersion(self, request: GetDatasetVersionRequest, context: Context) -> DatasetVersion:
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if request.name not in self.versions:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such version")
        return self.versions[request.name]

    async def AcquireReference(self, request: AcquireReferenceRequest, context: Context) -> Reference:
        assert request.resource
        self.asked.append(request.holder)
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if request.resource == self.refused:
            await context.abort(self.refusal, "it is being deleted")
        self.held.add((request.resource, request.holder))
        self.titles[request.holder] = request.title
        return Reference(resource=request.resource, holder=request.holder)

    async def ReleaseReference(self, request: ReleaseReferenceRequest, context: Context) -> Empty:
        assert request.resource
        self.asked.append(request.holder)
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.held.discard((request.resource, request.holder))
        return Empty()
