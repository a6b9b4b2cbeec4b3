"""Values to messages."""

from google.rpc.status_pb2 import Status

from bloomery.common.v1 import Artifact, Problem
from bloomery.common.v1 import Reference as ReferenceMessage
from bloomery.dataset.v1 import (
    CompareDatasetVersionsResponse,
    Crop,
    CropSpec,
    DatasetItem,
    DatasetSpec,
    DatasetStatistics,
    DatasetVersion,
    SplitStatistics,
)
from bloomery.dataset.v1 import Dataset as DatasetMessage
from bloomery.dataset.v1 import SplitPolicy as SplitPolicyMessage
from bloomery.vision.v1 import Box, TaskType
from bloomery_dataset.advice import advice
from bloomery_dataset.compare import Comparison
from bloomery_dataset.model import (
    DROP,
    LEFT_OUT,
    Blob,
    Crops,
    Dataset,
    Failure,
    Method,
    Reference,
    Spec,
    SplitCounts,
    SplitPolicy,
    State,
    Statistics,
    Task,
    Version,
)
from bloomery_dataset.store.datasets import etag
from bloomery_kit.errors import FailedPrecondition, Internal, to_status
from bloomery_kit.objects import SignedRequest
from bloomery_kit.signed import signed_message
from bloomery_kit.times import to_timestamp
from bloomery_vision.findings import Finding
from bloomery_vision.manifest import Crop as CropValue
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.messages import shape_message

TASKS = {
    TaskType.TASK_TYPE_DETECT: Task.DETECT,
    TaskType.TASK_TYPE_SEGMENT: Task.SEGMENT,
    TaskType.TASK_TYPE_CLASSIFY: Task.CLASSIFY,
}
METHODS = {
    SplitPolicyMessage.METHOD_RATIO: Method.RATIO,
    SplitPolicyMessage.METHOD_OFFICIAL: Method.OFFICIAL,
}
_TASK_MESSAGES = {task: message for message, task in TASKS.items()}
_METHOD_MESSAGES = {method: message for message, method in METHODS.items()}
_STATE_MESSAGES = {
    State.BUILDING: DatasetVersion.STATE_BUILDING,
    State.READY: DatasetVersion.STATE_READY,
    State.FAILED: DatasetVersion.STATE_FAILED,
}


def dataset_message(dataset: Dataset) -> DatasetMessage:
    """The message of a dataset."""
    return DatasetMessage(
        name=dataset.name,
        uid=dataset.uid,
        display_name=dataset.display_name,
        labels=dataset.labels,
        create_time=to_timestamp(dataset.create_time),
        update_time=to_timestamp(dataset.update_time),
        etag=etag(dataset),
        latest_version=dataset.latest_version,
    )


def version_message(version: Version) -> DatasetVersion:
    """The message of a version."""
    message = DatasetVersion(
        name=version.name,
        uid=version.uid,
        version=version.number,
        spec=_spec_message(version.spec),
        state=_STATE_MESSAGES[version.state],
        done_count=version.done_count,
        item_count=version.item_count,
        reused=version.reused,
        create_time=to_timestamp(version.create_time),
        update_time=to_timestamp(version.update_time),
        sequence=version.sequence,
    )
    if version.failure:
        message.error.CopyFrom(_status(version.failure))
    if version.plan:
        message.read_sequence = version.plan.read_sequence
    if version.product:
        message.warnings.extend(
            map(_problem, advice(version.spec, version.product.statistics, version.product.classes))
        )
        message.classes.extend(version.product.classes)
        message.statistics.CopyFrom(_statistics_message(version.product.statistics))
        message.content_hash = version.product.content_hash
        message.manifest.CopyFrom(
            artifact(version.product.manifest, role="manifest", media_type="application/json", file_name="index.json")
        )
    return message


def comparison_message(version: Version, other: Version, found: Comparison) -> CompareDatasetVersionsResponse:
    """A comparison as the contract shows it."""
    return CompareDatasetVersionsResponse(
        name=version.name,
        other=other.name,
        image_count=found.images,
        other_image_count=found.other_images,
        added_count=found.added,
        removed_count=found.removed,
        moved_count=found.moved,
        relabelled_count=found.relabelled,
        added_classes=found.added_classes,
        removed_classes=found.removed_classes,
    )


def item_message(row: ManifestRow, download: SignedRequest | None, content: bytes) -> DatasetItem:
    """The message of an image."""
    return DatasetItem(
        asset=row.asset,
        digest=row.digest,
        size_bytes=row.size_bytes,
        width=row.width,
        height=row.height,
        split=row.split,
        file_name=row.file_name,
        shapes=map(shape_message, row.shapes),
        download=signed_message(download) if download else None,
        original_name=row.original_name,
        source_name=row.source_name,
        source_id=row.source_id,
        content=content,
        crop=_crop_message(row.crop) if row.crop else None,
    )


def artifact(blob: Blob, *, role: str, media_type: str, file_name: str) -> Artifact:
    """The message of bytes in the object store."""
    return Artifact(
        digest=blob.digest,
        size_bytes=blob.size_bytes,
        media_type=media_type,
        logical_key=blob.logical_key,
        role=role,
        file_name=file_name,
    )


def reference_message(reference: Reference) -> ReferenceMessage:
    """A reference as the contract shows it."""
    return ReferenceMessage(
        holder=reference.holder,
        resource=reference.version,
        create_time=to_timestamp(reference.create_time),
        title=reference.title,
    )


def _unassigned(split: SplitPolicy) -> str:
    return DROP if split.unassigned == LEFT_OUT else split.unassigned


def _spec_message(spec: Spec) -> DatasetSpec:
    policy = SplitPolicyMessage(
        method=_METHOD_MESSAGES[spec.split.method],
        train_percent=spec.split.train_percent,
        val_percent=spec.split.val_percent,
        test_percent=spec.split.test_percent,
        seed=spec.split.seed,
        group_by=spec.split.group_by,
        unassigned=_unassigned(spec.split) if spec.split.method is Method.OFFICIAL else "",
    )
    return DatasetSpec(
        source=spec.of_version or f"projects/{spec.project}",
        task=_TASK_MESSAGES[spec.task],
        split=policy,
        class_mapping=spec.class_mapping,
        include_empty=spec.include_empty,
        include_unannotated=spec.include_unannotated,
        keep_unmapped=spec.keep_unmapped,
        crops=_crops_message(spec.crops) if spec.crops else None,
    )


def _crops_message(crops: Crops) -> CropSpec:
    return CropSpec(margin=crops.margin, smallest_side=crops.smallest_side, square=crops.square)


def _crop_message(crop: CropValue) -> Crop:
    region, box = (Box(x=each.x, y=each.y, width=each.width, height=each.height) for each in (crop.region, crop.box))
    return Crop(source_digest=crop.source_digest, region=region, box=box, label=crop.label)


def _statistics_message(statistics: Statistics) -> DatasetStatistics:
    return DatasetStatistics(
        splits=map(_split_message, statistics.splits),
        image_sides=statistics.image_sides,
        total_bytes=statistics.total_bytes,
        unassigned_count=statistics.unassigned_count,
        skipped_shapes=statistics.skipped_shapes,
        skipped_images=statistics.skipped_images,
        adjusted_shapes=statistics.adjusted_shapes,
        source_image_count=statistics.source_image_count,
        source_shape_count=statistics.source_shape_count,
        relative_sides=statistics.relative_sides,
        copies_apart=statistics.copies_apart,
    )


def _split_message(counts: SplitCounts) -> SplitStatistics:
    return SplitStatistics(
        split=counts.split,
        image_count=counts.image_count,
        empty_count=counts.empty_count,
        shapes=counts.shapes,
        images=counts.images,
        crowd_count=counts.crowd_count,
    )


def _problem(finding: Finding) -> Problem:
    severity = Problem.Severity.Value(f"SEVERITY_{finding.severity.name}")
    return Problem(severity=severity, code=finding.code, message=finding.message, hint=finding.hint)


def _status(failure: Failure) -> Status:
    if failure.reason == "INTERNAL":
        return to_status(Internal(failure.message))
    return to_status(FailedPrecondition(failure.reason, failure.message))
