"""Between the contract's messages and the model."""

from collections.abc import Sequence

from google.protobuf import json_format, struct_pb2

from bloomery.common.v1 import Artifact as ArtifactMessage
from bloomery.common.v1 import Problem
from bloomery.training.v1 import (
    AttemptSuccess,
    CreateJobRequest,
    FeedItem,
    FolderImages,
    JobEstimate,
    JobEvent,
    JobKind,
    JobResult,
    JobState,
    LogEntry,
    SignedArtifact,
)
from bloomery.training.v1 import (
    Checkpoint as CheckpointMessage,
)
from bloomery.training.v1 import (
    Job as JobMessage,
)
from bloomery.training.v1 import (
    JobGroup as JobGroupMessage,
)
from bloomery.training.v1 import (
    Progress as ProgressMessage,
)
from bloomery.training.v1 import (
    ProjectImages as ProjectImagesMessage,
)
from bloomery.training.v1 import (
    Reason as ReasonMessage,
)
from bloomery.training.v1 import (
    Resources as ResourcesMessage,
)
from bloomery_kit.errors import FailedPrecondition
from bloomery_kit.objects import SignedRequest
from bloomery_kit.signed import signed_message
from bloomery_kit.times import to_timestamp
from bloomery_trainer.estimating import Estimate
from bloomery_trainer.facts import document, model_facts, variant_facts
from bloomery_trainer.model import (
    Artifact,
    Checkpoint,
    Job,
    Kind,
    Progress,
    ProjectImages,
    Reason,
    Resources,
    Result,
    Success,
)
from bloomery_trainer.store.events import reason as reason_message
from bloomery_trainer.store.groups import JobGroup
from bloomery_trainer.store.results import Line
from bloomery_trainer.wishes import Changes, Wish, etag

_KIND_VALUES = frozenset(kind.value for kind in Kind)


def wish(request: CreateJobRequest) -> Wish:
    """What a request asks for."""
    job = request.job
    return Wish(
        project=request.parent,
        job_id=request.job_id,
        display_name=job.display_name,
        labels=dict(job.labels),
        kind=Kind(job.kind) if job.kind in _KIND_VALUES else None,
        recipe=job.recipe,
        parameters=struct(job.parameters),
        dataset_version=job.dataset_version,
        base=job.base,
        base_artifact=artifact(job.base_artifact) if job.HasField("base_artifact") else None,
        model=job.model,
        model_version=job.model_version,
        model_variant=job.model_variant,
        variant_artifacts=tuple(map(artifact, job.variant_artifacts)),
        resources=Resources(job.resources.cpus, job.resources.memory_bytes, job.resources.gpus),
        deadline_seconds=job.deadline_seconds,
        priority=job.priority,
        group=job.group,
        suggest=job.suggest,
        images=ProjectImages(job.project_images.filter) if job.HasField("project_images") else None,
        archives=tuple(map(artifact, job.folder_images.archives)) if job.HasField("folder_images") else None,
    )


def job_message(job: Job, result: Result | None = None) -> JobMessage:
    """A job with what it made."""
    spec = job.spec
    message = JobMessage(
        name=job.name,
        uid=job.uid,
        display_name=job.display_name,
        labels=job.labels,
        kind=JobKind.ValueType(spec.kind),
        recipe=spec.recipe,
        dataset_version=spec.dataset_version,
        base=spec.base,
        base_artifact=artifact_message(spec.base_artifact) if spec.base_artifact else None,
        model=spec.model,
        model_version=spec.model_version,
        model_variant=spec.model_variant,
        variant_artifacts=map(artifact_message, spec.variant_artifacts),
        resources=resources_message(spec.resources),
        deadline_seconds=spec.deadline_seconds,
        priority=job.priority,
        state=JobState.ValueType(job.state),
        reason=reason_message(job.reason),
        attempt=job.attempt,
        progress=progress_message(job.progress),
        result=result_message(job, result) if result else None,
        last_sequence=job.last_sequence,
        oldest_sequence=job.oldest_sequence,
        create_time=to_timestamp(job.create_time),
        start_time=to_timestamp(job.start_time) if job.start_time else None,
        end_time=to_timestamp(job.end_time) if job.end_time else None,
        update_time=to_timestamp(job.update_time),
        etag=etag(job),
        creator=job.creator,
        group=job.group,
        project_uid=job.project_uid,
        suggest=spec.suggest,
        project_images=project_images_message(spec.images) if spec.images else None,
        folder_images=FolderImages(archives=map(artifact_message, spec.archives)) if spec.archives else None,
    )
    message.parameters.update(spec.parameters)
    message.effective_parameters.update(spec.effective_parameters)
    return message


def project_images_message(images: ProjectImages) -> ProjectImagesMessage:
    """Images of a project at one moment."""
    return ProjectImagesMessage(filter=images.filter, read_sequence=images.read_sequence)


def group_message(group: JobGroup) -> JobGroupMessage:
    """A group of jobs."""
    return JobGroupMessage(
        name=group.name,
        job_count=sum(group.states.values()),
        state_counts={state.name: count for state, count in group.states.items()},
        fraction=group.fraction,
        create_time=to_timestamp(group.create_time),
        update_time=to_timestamp(group.update_time),
    )


def progress_message(progress: Progress) -> ProgressMessage:
    """How far a job is."""
    return ProgressMessage(
        phase=progress.phase,
        epoch=progress.epoch,
        epochs=progress.epochs,
        step=progress.step,
        steps=progress.steps,
        fraction=progress.fraction,
        eta_seconds=progress.eta_seconds,
        metrics=progress.metrics,
        device=progress.device,
    )


def result_message(job: Job, result: Result) -> JobResult:
    """What a job made."""
    made = result.success
    message = JobResult(
        job=job.name,
        job_uid=job.uid,
        sequence=result.sequence,
        artifacts=[artifact_message(each) for each in made.artifacts],
        metrics=made.metrics,
        versions=made.versions,
        create_time=to_timestamp(result.create_time),
        kind=JobKind.ValueType(job.spec.kind),
        model=model_facts(made),
        variants=variant_facts(made),
    )
    message.details.update(made.details)  # type: ignore[arg-type]
    return message


def feed_item(line: Line, *, accept_unreadable: bool) -> FeedItem:
    """A line of the feed of results. Raise FailedPrecondition RESULT_UNREADABLE where the reader does not take that."""
    problem = line.content
    if not isinstance(problem, ValueError):
        job, result = problem
        try:
            return FeedItem(result=result_message(job, result), job=job_message(job, result))
        except (ValueError, json_format.ParseError) as error:
            problem = ValueError(str(error))
    if not accept_unreadable:
        raise FailedPrecondition(
            "RESULT_UNREADABLE", f"result {line.sequence}, of {line.job or line.job_uid}: {problem}"
        )
    return FeedItem(
        result=JobResult(job=line.job, job_uid=line.job_uid, sequence=line.sequence),
        job=JobMessage(name=line.job, uid=line.job_uid),
        unreadable=str(problem),
    )


def artifact(message: ArtifactMessage) -> Artifact:
    """An artifact from its message."""
    return Artifact(
        role=message.role,
        digest=message.digest,
        size_bytes=message.size_bytes,
        media_type=message.media_type,
        file_name=message.file_name,
        logical_key=message.logical_key,
    )


def artifact_message(given: Artifact) -> ArtifactMessage:
    """The message of an artifact."""
    return ArtifactMessage(
        role=given.role,
        digest=given.digest,
        size_bytes=given.size_bytes,
        media_type=given.media_type,
        file_name=given.file_name,
        logical_key=given.logical_key,
    )


def estimate_message(draft: Job, found: Estimate, warnings: Sequence[Problem]) -> JobEstimate:
    """What a job would take."""
    return JobEstimate(
        job=job_message(draft),
        source=JobEstimate.Source.ValueType(found.source),
        earlier_jobs=found.jobs,
        seconds=found.seconds,
        least_seconds=found.least,
        most_seconds=found.most,
        memory_bytes=found.memory_bytes,
        warnings=warnings,
    )


def signed_artifact(given: Artifact, get: SignedRequest) -> SignedArtifact:
    """An artifact with its download."""
    return SignedArtifact(artifact=artifact_message(given), get=signed_message(get))


def success(message: AttemptSuccess) -> Success:
    """What a worker made."""
    return Success(
        artifacts=tuple(artifact(each) for each in message.artifacts),
        metrics=dict(message.metrics),
        details=struct(message.details),
        versions=dict(message.versions),
        model=document(message.model) if message.HasField("model") else None,
        variants=tuple(map(document, message.variants)),
    )


def reason(message: ReasonMessage) -> Reason:
    """A worker's reason; one without a code is the user's code's."""
    return Reason(message.code or "USER_CODE", message.message, message.hint, message.retriable)


def checkpoint_message(job: str, checkpoint: Checkpoint) -> CheckpointMessage:
    """A complete checkpoint of a job."""
    return CheckpointMessage(
        name=f"{job}/checkpoints/{checkpoint.epoch}",
        attempt=checkpoint.attempt,
        epoch=checkpoint.epoch,
        size_bytes=checkpoint.size_bytes,
        best=checkpoint.best,
        create_time=to_timestamp(checkpoint.create_time),
    )


def log_entry(event: JobEvent) -> LogEntry:
    """A log line from its event."""
    return LogEntry(sequence=event.sequence, time=event.time, attempt=event.attempt, line=event.log)


def changes(message: JobMessage, fields: Sequence[str]) -> Changes:
    """The new values of the fields that an update changes."""
    return Changes(
        display_name=message.display_name if "display_name" in fields else None,
        labels=dict(message.labels) if "labels" in fields else None,
        priority=message.priority if "priority" in fields else None,
    )


def struct(message: struct_pb2.Struct) -> dict[str, object]:
    """A Struct as a dict, with numbers that JSON does not know; a value that was left out is None, as null is."""
    return {key: _plain(value) for key, value in message.fields.items()}


def _plain(value: struct_pb2.Value) -> object:
    match value.WhichOneof("kind"):
        case None | "null_value":
            return None
        case "struct_value":
            return struct(value.struct_value)
        case "list_value":
            return [_plain(each) for each in value.list_value.values]
        case kind:
            return getattr(value, kind)


def resources_message(resources: Resources) -> ResourcesMessage:
    """What an attempt takes."""
    return ResourcesMessage(cpus=resources.cpus, memory_bytes=resources.memory_bytes, gpus=resources.gpus)
