"""The servicer of JobService: convert, call, convert."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bloomery.common.v1 import Artifact as ArtifactMessage
from bloomery.training.v1 import (
    CancelJobGroupRequest,
    CancelJobRequest,
    CompleteInputUploadRequest,
    CreateJobRequest,
    DeleteJobRequest,
    EstimateJobRequest,
    GetJobGroupRequest,
    GetJobRequest,
    GetLogsRequest,
    GetLogsResponse,
    GetRecipeRequest,
    JobEstimate,
    JobServiceServicer,
    ListCheckpointsRequest,
    ListCheckpointsResponse,
    ListJobEventsRequest,
    ListJobEventsResponse,
    ListJobGroupsRequest,
    ListJobGroupsResponse,
    ListJobResultsRequest,
    ListJobResultsResponse,
    ListJobsRequest,
    ListJobsResponse,
    ListRecipesRequest,
    ListRecipesResponse,
    PauseJobRequest,
    PrepareInputUploadRequest,
    PrepareInputUploadResponse,
    ResumeJobRequest,
    SignArtifactsRequest,
    SignArtifactsResponse,
    SignCheckpointRequest,
    SignCheckpointResponse,
    SignEventFilesRequest,
    SignEventFilesResponse,
    UpdateJobRequest,
    WatchJobRequest,
    WatchJobResponse,
    WatchJobResultsRequest,
    WatchJobResultsResponse,
)
from bloomery.training.v1 import (
    Job as JobMessage,
)
from bloomery.training.v1 import (
    JobGroup as JobGroupMessage,
)
from bloomery.training.v1 import (
    Recipe as RecipeMessage,
)
from bloomery_kit.context import current_principal
from bloomery_kit.database import Transaction
from bloomery_kit.idempotency import Repeatable, Repeated
from bloomery_kit.masks import apply_mask
from bloomery_kit.names import Pattern
from bloomery_kit.pages import PageRequest
from bloomery_kit.pipeline import Context
from bloomery_kit.signed import upload_messages
from bloomery_trainer import checkpoints, convert, filters
from bloomery_trainer.control import Control
from bloomery_trainer.convert_recipes import recipe_message
from bloomery_trainer.core import Core
from bloomery_trainer.creation import Creation
from bloomery_trainer.holding import release_at_once
from bloomery_trainer.inputs import Inputs
from bloomery_trainer.model import Job
from bloomery_trainer.reading import Reading
from bloomery_trainer.streams import Streams

M = TypeVar("M", bound=Message)
PROJECT = Pattern("projects/{project}")
JOB = Pattern("projects/{project}/jobs/{job}")
JOB_GROUP = Pattern("projects/{project}/jobGroups/{group}")
_UPDATABLE = frozenset({"display_name", "labels", "priority"})
_ALL = "projects/-"


class JobService(JobServiceServicer):
    """Jobs for people."""

    def __init__(self, core: Core, streams: Streams) -> None:
        self._core = core
        self._creation = Creation(core)
        self._inputs = Inputs(core)
        self._control = Control(core)
        self._reading = Reading(core)
        self._streams = streams

    async def ListRecipes(self, request: ListRecipesRequest, context: Context) -> ListRecipesResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        after = page.cursor[0] if page.cursor else ""
        found = [recipe for recipe in self._core.catalogue.list() if recipe.name > str(after)]
        token = page.next_token((found[page.size - 1].name,)) if len(found) > page.size else ""
        recipes = [recipe_message(recipe) for recipe in found[: page.size]]
        return ListRecipesResponse(recipes=recipes, next_page_token=token)

    async def GetRecipe(self, request: GetRecipeRequest, context: Context) -> RecipeMessage:
        """See the contract."""
        return recipe_message(self._core.catalogue.get(request.name))

    async def PrepareInputUpload(
        self, request: PrepareInputUploadRequest, context: Context
    ) -> PrepareInputUploadResponse:
        """See the contract."""
        PROJECT.parse(request.parent, "parent")
        wanted = convert.artifact(request.artifact)
        put, parts = upload_messages(await self._inputs.prepare(request.parent, wanted, in_parts=request.in_parts))
        return PrepareInputUploadResponse(put=put, parts=parts)

    async def CompleteInputUpload(self, request: CompleteInputUploadRequest, context: Context) -> ArtifactMessage:
        """See the contract."""
        PROJECT.parse(request.parent, "parent")
        kept = await self._inputs.complete(request.parent, convert.artifact(request.artifact))
        return convert.artifact_message(kept)

    async def CreateJob(self, request: CreateJobRequest, context: Context) -> JobMessage:
        """See the contract."""
        PROJECT.parse(request.parent, "parent")
        call = self._repeatable("CreateJob", request.parent, request)
        if not request.validate_only and (first := await call.first_answer(self._core.db)) is not None:
            return first
        draft = await self._creation.draft(convert.wish(request), current_principal().subject)
        if request.validate_only:
            return convert.job_message(draft)
        created = await self._make(call, _message_of(partial(self._creation.store, draft=draft)))
        self._core.jobs_moved(created.uid)
        await self._creation.claim_inputs(created.uid)
        return created

    async def EstimateJob(self, request: EstimateJobRequest, context: Context) -> JobEstimate:
        """See the contract."""
        PROJECT.parse(request.parent, "parent")
        wish = convert.wish(CreateJobRequest(parent=request.parent, job=request.job))
        return convert.estimate_message(*await self._creation.estimate(wish, current_principal().subject))

    async def GetJob(self, request: GetJobRequest, context: Context) -> JobMessage:
        """See the contract."""
        return convert.job_message(*await self._reading.job(*_ids(request.name)))

    async def ListJobs(self, request: ListJobsRequest, context: Context) -> ListJobsResponse:
        """See the contract."""
        if request.parent != _ALL:
            PROJECT.parse(request.parent, "parent")
        wanted = filters.job_filter(request.filter, request.parent)
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        found, cursor = await self._reading.jobs(wanted, page)
        return ListJobsResponse(jobs=[convert.job_message(*each) for each in found], next_page_token=cursor)

    async def UpdateJob(self, request: UpdateJobRequest, context: Context) -> JobMessage:
        """See the contract."""
        ids = _ids(request.job.name, "job.name")
        fields = apply_mask(request.update_mask, request.job, _UPDATABLE)
        changes = convert.changes(request.job, fields)
        async with self._core.db.write() as tx:
            job = await self._control.update(tx, *ids, changes, request.job.etag)
        self._core.jobs_moved(job.uid)
        return convert.job_message(*await self._reading.job(*ids))

    async def DeleteJob(self, request: DeleteJobRequest, context: Context) -> Empty:
        """See the contract."""
        async with self._core.db.write() as tx:
            job = await self._control.delete(tx, *_ids(request.name))
        self._core.jobs_moved(job.uid)
        self._core.deleted.set()
        await release_at_once(self._core, job)
        return Empty()

    async def CancelJob(self, request: CancelJobRequest, context: Context) -> JobMessage:
        """See the contract."""
        project, job_id = _ids(request.name)
        by = current_principal().subject
        make = partial(self._control.cancel, project=project, job_id=job_id, by=by, force=request.force)
        return await self._move(self._repeatable("CancelJob", request.name, request), make)

    async def PauseJob(self, request: PauseJobRequest, context: Context) -> JobMessage:
        """See the contract."""
        project, job_id = _ids(request.name)
        make = partial(self._control.pause, project=project, job_id=job_id)
        return await self._move(self._repeatable("PauseJob", request.name, request), make)

    async def ResumeJob(self, request: ResumeJobRequest, context: Context) -> JobMessage:
        """See the contract."""
        project, job_id = _ids(request.name)
        make = partial(self._control.resume, project=project, job_id=job_id)
        return await self._move(self._repeatable("ResumeJob", request.name, request), make)

    async def GetJobGroup(self, request: GetJobGroupRequest, context: Context) -> JobGroupMessage:
        """See the contract."""
        return convert.group_message(await self._reading.group(*_group_ids(request.name)))

    async def ListJobGroups(self, request: ListJobGroupsRequest, context: Context) -> ListJobGroupsResponse:
        """See the contract."""
        PROJECT.parse(request.parent, "parent")
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        found, token = await self._reading.groups(request.parent, page)
        return ListJobGroupsResponse(
            job_groups=[convert.group_message(group) for group in found], next_page_token=token
        )

    async def CancelJobGroup(self, request: CancelJobGroupRequest, context: Context) -> JobGroupMessage:
        """See the contract."""
        ids, by = _group_ids(request.name), current_principal().subject
        cancelled: list[Job] = []

        async def make(tx: Transaction) -> JobGroupMessage:
            group, concerned = await self._control.cancel_group(tx, *ids, by=by, force=request.force)
            cancelled.extend(concerned)
            return convert.group_message(group)

        call: Repeatable[JobGroupMessage] = Repeatable("CancelJobGroup", request.name, request, clock=self._core.clock)
        answer = await self._once(call, make)
        for job in cancelled:
            self._core.jobs_moved(job.uid)
        return answer

    async def ListJobEvents(self, request: ListJobEventsRequest, context: Context) -> ListJobEventsResponse:
        """See the contract."""
        ids = _ids(request.parent, "parent")
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        content = filters.event_filter(request.filter)
        events, token = await self._reading.events(*ids, request.after_sequence, content, page)
        return ListJobEventsResponse(events=events, next_page_token=token)

    async def WatchJob(self, request: WatchJobRequest, context: Context) -> AsyncIterator[WatchJobResponse]:
        """See the contract."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        async for message in self._streams.job(*_ids(request.name), after):
            yield message

    async def GetLogs(self, request: GetLogsRequest, context: Context) -> GetLogsResponse:
        """See the contract."""
        ids = _ids(request.name)
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        lines, token = await self._reading.logs(*ids, request.tail, request.minimum_level, page)
        return GetLogsResponse(entries=[convert.log_entry(line) for line in lines], next_page_token=token)

    async def ListCheckpoints(self, request: ListCheckpointsRequest, context: Context) -> ListCheckpointsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        found, token = await self._reading.checkpoints(*_ids(request.parent, "parent"), page)
        listed = [convert.checkpoint_message(request.parent, checkpoint) for checkpoint in found]
        return ListCheckpointsResponse(checkpoints=listed, next_page_token=token)

    async def SignCheckpoint(self, request: SignCheckpointRequest, context: Context) -> SignCheckpointResponse:
        """See the contract."""
        ids = checkpoints.ids_of(request.name)
        project = f"projects/{ids['project']}"
        found, files = await self._reading.sign_checkpoint(project, ids["job"], ids["checkpoint"])
        return SignCheckpointResponse(
            checkpoint=convert.checkpoint_message(f"{project}/jobs/{ids['job']}", found),
            files=[convert.signed_artifact(replace(file.artifact, file_name=file.path), get) for file, get in files],
        )

    async def SignEventFiles(self, request: SignEventFilesRequest, context: Context) -> SignEventFilesResponse:
        """See the contract."""
        signed = await self._reading.sign_event_files(*_ids(request.name))
        return SignEventFilesResponse(files=[convert.signed_artifact(artifact, get) for artifact, get in signed])

    async def SignArtifacts(self, request: SignArtifactsRequest, context: Context) -> SignArtifactsResponse:
        """See the contract."""
        signed = await self._reading.sign_artifacts(*_ids(request.name), request.roles)
        return SignArtifactsResponse(artifacts=[convert.signed_artifact(artifact, get) for artifact, get in signed])

    async def ListJobResults(self, request: ListJobResultsRequest, context: Context) -> ListJobResultsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, bound_to=request)
        found, token = await self._reading.results(request.after_sequence, page)
        items = [convert.feed_item(line, accept_unreadable=request.accept_unreadable) for line in found]
        return ListJobResultsResponse(results=items, next_page_token=token)

    async def WatchJobResults(
        self, request: WatchJobResultsRequest, context: Context
    ) -> AsyncIterator[WatchJobResultsResponse]:
        """See the contract."""
        async for message in self._streams.results(request.after_sequence, accept_unreadable=request.accept_unreadable):
            yield message

    def _repeatable(self, method: str, parent: str, request: Repeated) -> Repeatable[JobMessage]:
        return Repeatable(method, parent, request, clock=self._core.clock)

    async def _move(self, call: Repeatable[JobMessage], make: Callable[[Transaction], Awaitable[Job]]) -> JobMessage:
        moved = await self._once(call, _message_of(make))
        self._core.jobs_moved(moved.uid)
        return moved

    async def _once(self, call: Repeatable[M], make: Callable[[Transaction], Awaitable[M]]) -> M:
        first = await call.first_answer(self._core.db)
        return await self._make(call, make) if first is None else first

    async def _make(self, call: Repeatable[M], make: Callable[[Transaction], Awaitable[M]]) -> M:
        async with self._core.db.write() as tx:
            return await call.once(tx, partial(make, tx))


def _message_of(make: Callable[[Transaction], Awaitable[Job]]) -> Callable[[Transaction], Awaitable[JobMessage]]:
    async def made(tx: Transaction) -> JobMessage:
        return convert.job_message(await make(tx))

    return made


def _ids(name: str, field: str = "name") -> tuple[str, str]:
    ids = JOB.parse(name, field)
    return f"projects/{ids['project']}", ids["job"]


def _group_ids(name: str) -> tuple[str, str]:
    ids = JOB_GROUP.parse(name)
    return f"projects/{ids['project']}", ids["group"]
