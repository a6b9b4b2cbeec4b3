"""Messages to values and back."""

from collections.abc import Mapping
from datetime import timedelta

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.rpc.status_pb2 import Status

from bloomery.annotation.v1 import FORMAT_UNSPECIFIED, ImportOutcomes, ImportPlan, UploadTarget
from bloomery.annotation.v1 import AnnotationSet as AnnotationSetMessage
from bloomery.annotation.v1 import Asset as AssetMessage
from bloomery.annotation.v1 import Format as FormatEnum
from bloomery.annotation.v1 import Import as ImportMessage
from bloomery.annotation.v1 import Label as LabelMessage
from bloomery.annotation.v1 import Project as ProjectMessage
from bloomery.common.v1 import Problem as ProblemMessage
from bloomery.common.v1 import Reference as ReferenceMessage
from bloomery.vision.v1 import Provenance as ProvenanceMessage
from bloomery_annotation import shapes
from bloomery_annotation.model import (
    AnnotationSet,
    Asset,
    AssetDraft,
    Failure,
    Import,
    ImportState,
    Label,
    Problem,
    Project,
    Provenance,
    Reference,
    Source,
)
from bloomery_annotation.names import ASSET
from bloomery_kit.errors import BloomeryError, FailedPrecondition, Internal, to_status
from bloomery_kit.signed import upload_messages
from bloomery_kit.times import to_timestamp
from bloomery_kit.uploads import Upload
from bloomery_vision import formats as vision_formats
from bloomery_vision.findings import Severity
from bloomery_vision.formats import Format

FORMATS: Mapping[FormatEnum.ValueType, Format | None] = {
    FORMAT_UNSPECIFIED: None,
    **{FormatEnum.Value(f"FORMAT_{one.upper()}"): one for one in vision_formats.FORMATS},
}
SOURCES = {
    ProvenanceMessage.SOURCE_UNSPECIFIED: Source.HUMAN,
    ProvenanceMessage.SOURCE_HUMAN: Source.HUMAN,
    ProvenanceMessage.SOURCE_MODEL: Source.MODEL,
    ProvenanceMessage.SOURCE_IMPORT: Source.IMPORT,
}
_FORMAT_ENUMS = {value: number for number, value in FORMATS.items()}
_SOURCE_ENUMS = {value: number for number, value in SOURCES.items()}
_STATES = {
    ImportState.PENDING: ImportMessage.STATE_PENDING,
    ImportState.RUNNING: ImportMessage.STATE_RUNNING,
    ImportState.SUCCEEDED: ImportMessage.STATE_SUCCEEDED,
    ImportState.FAILED: ImportMessage.STATE_FAILED,
    ImportState.CANCELLED: ImportMessage.STATE_CANCELLED,
}
_SEVERITIES = {
    Severity.ERROR: ProblemMessage.SEVERITY_ERROR,
    Severity.WARNING: ProblemMessage.SEVERITY_WARNING,
}


def project(value: Project) -> ProjectMessage:
    """A project."""
    return ProjectMessage(
        name=value.name,
        uid=value.uid,
        display_name=value.display_name,
        labels=value.labels,
        create_time=to_timestamp(value.create_time),
        update_time=to_timestamp(value.update_time),
        etag=value.etag,
        asset_count=value.asset_count,
        sequence=value.sequence,
        size_bytes=value.size_bytes,
    )


def label(value: Label) -> LabelMessage:
    """A label."""
    return LabelMessage(
        name=value.name,
        uid=value.uid,
        display_name=value.display_name,
        color=value.color,
        create_time=to_timestamp(value.create_time),
        update_time=to_timestamp(value.update_time),
        etag=value.etag,
        shape_count=value.shape_count,
        deleting=bool(value.deleted_by),
        former_names=value.former_names,
        supercategory=value.supercategory,
        source_id=value.source_id,
    )


def asset(value: Asset) -> AssetMessage:
    """An asset."""
    return AssetMessage(
        name=value.name,
        uid=value.uid,
        display_name=value.display_name,
        digest=value.digest,
        size_bytes=value.size_bytes,
        media_type=value.media_type,
        width=value.width,
        height=value.height,
        split=value.split,
        labels=value.labels,
        create_time=to_timestamp(value.create_time),
        sequence=value.sequence,
        parent=ASSET.format(project=value.project_id, asset=value.parent) if value.parent else "",
        timestamp=_duration(value.timestamp) if value.parent else None,
        etag=value.etag,
        source_name=value.source_name,
        source_id=value.source_id,
    )


def asset_draft(message: AssetMessage) -> AssetDraft:
    """What a caller may say about an asset."""
    return AssetDraft(
        message.digest,
        message.display_name,
        message.split,
        dict(message.labels),
        ASSET.parse(message.parent, "parent")["asset"] if message.parent else "",
        message.timestamp.ToTimedelta(),
    )


def annotation_set(value: AnnotationSet) -> AnnotationSetMessage:
    """An annotation set."""
    message = shapes.unpack(value.blob)
    message.MergeFrom(
        AnnotationSetMessage(
            name=value.name,
            provenance=ProvenanceMessage(source=_SOURCE_ENUMS[value.provenance.source], agent=value.provenance.agent),
            revision=value.revision,
            sequence=value.sequence,
            create_time=to_timestamp(value.create_time),
            update_time=to_timestamp(value.update_time),
            etag=value.etag,
            author=value.author,
        )
    )
    return message


def provenance(message: ProvenanceMessage, author: str) -> Provenance:
    """Where shapes came from: from the author by default."""
    return Provenance(SOURCES[message.source], message.agent or author)


def annotation_import(value: Import) -> ImportMessage:
    """An import."""
    counts = value.counts
    return ImportMessage(
        name=value.name,
        uid=value.uid,
        display_name=value.display_name,
        format=_FORMAT_ENUMS[value.format],
        state=_STATES[value.state],
        error=_failure(value.failure) if value.failure else None,
        item_count=counts.item_count,
        done_count=counts.done_count,
        asset_count=counts.asset_count,
        annotated_count=counts.annotated_count,
        unchanged_count=counts.unchanged_count,
        failed_count=counts.failed_count,
        shape_count=counts.shape_count,
        problems=[problem(item) for item in value.problems],
        problem_count=counts.problem_count,
        problem_counts=counts.problem_codes,
        create_time=to_timestamp(value.create_time),
        update_time=to_timestamp(value.update_time),
        sequence=value.sequence,
        outcomes=ImportOutcomes(
            annotated=counts.labelled_count,
            empty=counts.empty_count,
            unannotated=counts.unlabelled_count,
            failed=counts.broken_count,
            repeated=counts.repeated_count,
        ),
        plan=import_plan(value.plan) if value.plan else None,
        plan_only=value.plan_only,
        strict=value.strict,
        edited_count=counts.edited_count,
        split_count=counts.split_count,
    )


def import_plan(text: str) -> ImportPlan:
    """What a folder was understood to be, from its stored form."""
    # A newer replica may have stored fields that this one does not know.
    plan = json_format.Parse(text, ImportPlan(), ignore_unknown_fields=True)
    for stop in plan.stops:
        stop.severity = ProblemMessage.SEVERITY_ERROR
    return plan


def problem(value: Problem) -> ProblemMessage:
    """A finding."""
    return ProblemMessage(
        severity=_SEVERITIES[value.finding.severity],
        code=value.finding.code,
        message=value.finding.message,
        hint=value.finding.hint,
        item=value.item,
        path=value.finding.path,
    )


def upload_target(digest: str, upload: Upload) -> UploadTarget:
    """How to bring a blob."""
    put, parts = upload_messages(upload)
    return UploadTarget(digest=digest, put=put, parts=parts)


def reference(value: Reference) -> ReferenceMessage:
    """A reference."""
    return ReferenceMessage(
        holder=value.holder, resource=value.resource, create_time=to_timestamp(value.create_time), title=value.title
    )


def status(error: BloomeryError | None) -> Status:
    """The outcome of one item of a batch."""
    return to_status(error) if error else Status()


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration


def _failure(value: Failure) -> Status:
    if value.reason == "INTERNAL":
        return to_status(Internal(value.message))
    return to_status(FailedPrecondition(value.reason, value.message))
