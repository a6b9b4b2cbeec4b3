"""The servicer of WorkerService: convert, call, convert. The attempt's secret is the bearer token."""

from google.rpc import status_pb2

from bloomery.annotation.v1 import Asset
from bloomery.training.v1 import (
    DIRECTIVE_CANCEL,
    DIRECTIVE_CONTINUE,
    DIRECTIVE_PAUSE,
    ArtifactTarget,
    CheckpointFile,
    CompleteArtifactUploadsRequest,
    CompleteArtifactUploadsResponse,
    CompletedArtifact,
    Directive,
    FinishAttemptRequest,
    FinishAttemptResponse,
    JobImage,
    JobState,
    PrepareArtifactUploadsRequest,
    PrepareArtifactUploadsResponse,
    ReadImagesRequest,
    ReadImagesResponse,
    ReportProgressRequest,
    ReportProgressResponse,
    SignedInput,
    SignInputsRequest,
    SignInputsResponse,
    StartAttemptRequest,
    StartAttemptResponse,
    SuggestShapesRequest,
    SuggestShapesResponse,
    WorkerServiceServicer,
)
from bloomery_kit.context import bearer_token
from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.pipeline import Context
from bloomery_kit.signed import signed_message, upload_messages
from bloomery_trainer import convert
from bloomery_trainer.convert_recipes import recipe_message
from bloomery_trainer.core import Core
from bloomery_trainer.finishing import Failure, Stopped
from bloomery_trainer.model import Artifact, Attempt, Job, State, Success
from bloomery_trainer.starting import Input, Start
from bloomery_trainer.uploads import Target, Uploads
from bloomery_trainer.worker_calls import Report, Worker, WorkerCalls

_KEYS = 1000


class WorkerService(WorkerServiceServicer):
    """Attempts for workers."""

    def __init__(self, core: Core) -> None:
        self._interval = core.settings.report_interval
        self._calls = WorkerCalls(core)
        self._neighbours = core.neighbours
        self._uploads = Uploads(core)

    async def StartAttempt(self, request: StartAttemptRequest, context: Context) -> StartAttemptResponse:
        """See the contract."""
        worker = Worker(request.worker_id, request.host, request.incarnation)
        return self._started(await self._calls.start(request.token, worker))

    async def ReportProgress(self, request: ReportProgressRequest, context: Context) -> ReportProgressResponse:
        """See the contract."""
        report = Report(request.first_sequence, request.events, request.phase, request.stalled)
        job, attempt = await self._calls.report(bearer_token(), report)
        return ReportProgressResponse(
            acknowledged_sequence=attempt.worker_sequence,
            directive=_directive(job, attempt),
            next_interval_seconds=self._interval,
            force=job.force,
        )

    async def SignInputs(self, request: SignInputsRequest, context: Context) -> SignInputsResponse:
        """See the contract."""
        if len(request.logical_keys) > _KEYS:
            raise InvalidArgument([FieldViolation("logical_keys", f"must be at most {_KEYS}")])
        signed = await self._calls.sign_inputs(bearer_token(), request.logical_keys)
        return SignInputsResponse(gets=[signed_message(get) for get in signed])

    async def PrepareArtifactUploads(
        self, request: PrepareArtifactUploadsRequest, context: Context
    ) -> PrepareArtifactUploadsResponse:
        """See the contract."""
        uploads = [convert.artifact(upload.artifact) for upload in request.uploads]
        targets = await self._uploads.prepare(bearer_token(), uploads, in_parts=request.in_parts)
        return PrepareArtifactUploadsResponse(targets=[_target(target) for target in targets])

    async def CompleteArtifactUploads(
        self, request: CompleteArtifactUploadsRequest, context: Context
    ) -> CompleteArtifactUploadsResponse:
        """See the contract."""
        uploads = [convert.artifact(upload.artifact) for upload in request.uploads]
        completed = await self._uploads.complete(bearer_token(), uploads)
        return CompleteArtifactUploadsResponse(results=[_completed(item) for item in completed])

    async def ReadImages(self, request: ReadImagesRequest, context: Context) -> ReadImagesResponse:
        """See the contract."""
        job, found = await self._calls.images(bearer_token(), request.after)
        images = [_image(item.asset, job.project_uid) for item in found.items]
        return ReadImagesResponse(images=images, after=found.after)

    async def SuggestShapes(self, request: SuggestShapesRequest, context: Context) -> SuggestShapesResponse:
        """See the contract."""
        job = await self._calls.suggesting(bearer_token())
        saved = await self._neighbours.suggest(job, request)
        return SuggestShapesResponse(
            results=saved.results,
            shape_count=saved.shape_count,
            unknown_classes=saved.unknown_classes,
            unusable_count=saved.unusable_count,
            annotation_set=saved.annotation_set,
        )

    async def FinishAttempt(self, request: FinishAttemptRequest, context: Context) -> FinishAttemptResponse:
        """See the contract."""
        state = await self._calls.finish(bearer_token(), _end(request))
        return FinishAttemptResponse(state=JobState.ValueType(state))

    def _started(self, start: Start) -> StartAttemptResponse:
        files = zip(start.resume.files, start.resume_files, strict=True) if start.resume else ()
        return StartAttemptResponse(
            secret=start.secret,
            job=convert.job_message(start.job),
            recipe=recipe_message(start.recipe),
            attempt=start.attempt.number,
            manifest=_input(start.manifest) if start.manifest else None,
            base=_input(start.base) if start.base else None,
            variant=map(_input, start.variant),
            archives=map(_input, start.archives),
            resume_from=[CheckpointFile(path=file.path, input=_input(each)) for file, each in files],
            report_interval_seconds=self._interval,
            classes=start.job.spec.classes,
            resume_epoch=start.resume.epoch if start.resume else 0,
        )


def _directive(job: Job, attempt: Attempt) -> "Directive.ValueType":
    if job.state is State.CANCELLING:
        return DIRECTIVE_CANCEL
    # Completion wins over a pause.
    return DIRECTIVE_PAUSE if job.state is State.PAUSING and not attempt.publishing else DIRECTIVE_CONTINUE


def _end(request: FinishAttemptRequest) -> Success | Failure | Stopped:
    if request.HasField("success"):
        return convert.success(request.success)
    if request.HasField("failure"):
        return Failure(convert.reason(request.failure.reason), request.failure.log_tail)
    if request.HasField("stopped"):
        return Stopped()
    raise InvalidArgument([FieldViolation("success", "exactly one of success, failure and stopped must be set")])


def _image(asset: Asset, project_uid: str) -> JobImage:
    return JobImage(
        asset=asset.name,
        display_name=asset.display_name,
        digest=asset.digest,
        size_bytes=asset.size_bytes,
        media_type=asset.media_type,
        width=asset.width,
        height=asset.height,
        split=asset.split,
        logical_key=f"{project_uid}/{asset.digest.removeprefix('sha256:')}",
    )


def _input(given: Input) -> SignedInput:
    return SignedInput(artifact=convert.artifact_message(given.artifact), get=signed_message(given.get))


def _target(target: Target) -> ArtifactTarget:
    if target.upload is None:
        return ArtifactTarget(role=target.role, present=True)
    put, parts = upload_messages(target.upload)
    return ArtifactTarget(role=target.role, put=put, parts=parts)


def _completed(item: Artifact | status_pb2.Status) -> CompletedArtifact:
    if isinstance(item, Artifact):
        return CompletedArtifact(artifact=convert.artifact_message(item))
    return CompletedArtifact(status=item)
