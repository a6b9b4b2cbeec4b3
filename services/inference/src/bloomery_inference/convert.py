"""Between protobuf and the inference service's own values."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from bloomery.common.v1 import Artifact as ArtifactMessage
from bloomery.inference.v1 import InputSpec as InputSpecMessage
from bloomery.inference.v1 import Lineage as LineageMessage
from bloomery.inference.v1 import Model as ModelMessage
from bloomery.inference.v1 import (
    ModelVariant,
)
from bloomery.inference.v1 import ModelVersion as ModelVersionMessage
from bloomery.vision.v1 import TaskType
from bloomery_inference.model import Artifact, Model, ModelVersion, Origin, Variant, VariantState, VersionContent
from bloomery_inference.names import DATASET_VERSION, MODEL, VARIANT, VERSION
from bloomery_inference.ranking import ranked
from bloomery_kit.errors import FailedPrecondition, FieldViolation, InvalidArgument, PreconditionViolation, Violations
from bloomery_kit.etags import etag_of
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.times import to_timestamp
from bloomery_vision.forms import ONNX_FILE

TASKS = {
    "detect": TaskType.TASK_TYPE_DETECT,
    "segment": TaskType.TASK_TYPE_SEGMENT,
    "classify": TaskType.TASK_TYPE_CLASSIFY,
}
STATES = {
    "PENDING": ModelVariant.STATE_PENDING,
    "READY": ModelVariant.STATE_READY,
    "FAILED": ModelVariant.STATE_FAILED,
}
ORIGINS = {"dataset_version": DATASET_VERSION, "base": VERSION}
_MAX_NAME = 200
_MAX_NOTE = 10_000
CHECKPOINT = "checkpoint"
"""Role of the artifact of a version that jobs work on, where it has one."""


def model_etag(model: Model) -> str:
    """The etag of a model's own fields."""
    return etag_of(model.uid, model.revision)


def version_etag(version: ModelVersion) -> str:
    """The etag of what people say of a version."""
    return etag_of(version.uid, version.revision)


def model_message(model: Model) -> ModelMessage:
    """A model as the contract shows it."""
    return ModelMessage(
        name=MODEL.format(project=model.project, model=model.id),
        uid=model.uid,
        display_name=model.display_name,
        labels=model.labels,
        create_time=to_timestamp(model.create_time),
        update_time=to_timestamp(model.update_time),
        etag=model_etag(model),
        latest_version=model.latest_version,
    )


def version_message(version: ModelVersion) -> ModelVersionMessage:
    """A version as the contract shows it."""
    content = version.content
    return ModelVersionMessage(
        name=version_name(version),
        uid=version.uid,
        version=version.number,
        task=TASKS.get(content.task, TaskType.TASK_TYPE_UNSPECIFIED),
        classes=content.classes,
        artifacts=[artifact_message(artifact) for artifact in content.artifacts],
        metrics=content.metrics,
        lineage=_lineage(content),
        input=InputSpecMessage(height=content.input.height, width=content.input.width, resize=content.input.resize),
        details=_struct(content.details),
        create_time=to_timestamp(version.create_time),
        variants=[variant_message(variant) for variant in version.variants],
        aliases=version.aliases,
        note=version.note,
        state=ModelVersionMessage.STATE_ACTIVE if version.active else ModelVersionMessage.STATE_INACTIVE,
        etag=version_etag(version),
        fastest_variants=[variant.id for variant in ranked(version)],
    )


def variant_message(variant: Variant) -> ModelVariant:
    """A variant as the contract shows it."""
    message = ModelVariant(
        name=variant_name(variant),
        uid=variant.uid,
        format=variant.format,
        precision=variant.precision,
        device=variant.result.device,
        state=STATES[variant.state],
        reason=variant.reason,
        artifacts=[artifact_message(artifact) for artifact in variant.result.artifacts],
        job=variant.job,
        create_time=to_timestamp(variant.create_time),
        update_time=to_timestamp(variant.update_time),
    )
    for field, facts in ((message.parity, variant.result.parity), (message.latency, variant.result.latency)):
        if facts:
            json_format.ParseDict(dict(facts), field, ignore_unknown_fields=True)
    return message


def artifact_message(artifact: Artifact) -> ArtifactMessage:
    """An artifact as the contract shows it."""
    return ArtifactMessage(
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        media_type=artifact.media_type,
        logical_key=artifact.logical_key,
        role=artifact.role,
        file_name=artifact.file_name,
    )


def version_name(version: ModelVersion) -> str:
    """The resource name of a version."""
    return VERSION.format(project=version.project, model=version.model, version=version.number)


def variant_name(variant: Variant) -> str:
    """The resource name of a variant."""
    return VARIANT.format(project=variant.project, model=variant.model, version=variant.number, variant=variant.id)


def source_of(version: ModelVersion) -> Artifact:
    """The file that jobs work on: its checkpoint, or the ONNX file as which it came.

    Raise FailedPrecondition NO_CHECKPOINT where it has neither.
    """
    for artifact in sources_of(version):
        return artifact
    name, fix = version_name(version), "optimize a version that has one"
    message = f"{name} has no checkpoint to make variants from; {fix}"
    raise FailedPrecondition("NO_CHECKPOINT", message, [PreconditionViolation("NO_CHECKPOINT", name, fix)])


def sources_of(version: ModelVersion) -> Sequence[Artifact]:
    """That file, or nothing."""
    checkpoints = [one for one in version.content.artifacts if one.role == CHECKPOINT]
    made = [one for variant in version.variants if is_source(version, variant) for one in variant.result.artifacts]
    return checkpoints or [one for one in made if one.role.endswith(f"/{ONNX_FILE}")]


def is_source(version: ModelVersion, variant: Variant) -> bool:
    """Whether a variant is what the version came as, and all that there is of it: made by its own job, not from it."""
    alone = not any(one.role == CHECKPOINT for one in version.content.artifacts)
    return alone and variant.job == version.content.lineage.job and variant.state is VariantState.READY


def changes(message: ModelMessage, paths: Collection[str]) -> dict[str, object]:
    """What is to be changed of a model, by column. Raise InvalidArgument with every violation."""
    violations = Violations()
    found: dict[str, object] = {}
    if "display_name" in paths:
        check_text(message.display_name, "model.display_name", violations, length=_MAX_NAME)
        found["display_name"] = message.display_name
    if "labels" in paths:
        check_labels(message.labels, "model.labels", violations)
        found["labels"] = dict(message.labels)
    violations.raise_if_any()
    return found


def version_changes(message: ModelVersionMessage, paths: Collection[str]) -> dict[str, object]:
    """What is to be changed of a version, by column. Raise InvalidArgument with every violation."""
    violations = Violations()
    found: dict[str, object] = {}
    if "note" in paths:
        check_text(message.note, "model_version.note", violations, length=_MAX_NOTE)
        found["note"] = message.note
    if "state" in paths:
        if message.state not in (message.STATE_ACTIVE, message.STATE_INACTIVE):
            violations.add("model_version.state", "must be STATE_ACTIVE or STATE_INACTIVE")
        found["active"] = message.state == message.STATE_ACTIVE
    violations.raise_if_any()
    return found


def origin_filter(text: str) -> Origin | None:
    """What versions are to come from, None for anything. Raise InvalidArgument."""
    if not text:
        return None
    kind, _, name = text.partition(":")
    pattern = ORIGINS.get(kind)
    if pattern is None or not pattern.matches(name):
        forms = " or ".join(f"{key}:{one.template}" for key, one in ORIGINS.items())
        raise InvalidArgument([FieldViolation("filter", f"must be empty, or {forms}")])
    return Origin(kind, name)


def check_texts(**fields: str) -> None:
    """Whether texts can be looked for, by their fields. Raise InvalidArgument."""
    violations = Violations()
    for field, text in fields.items():
        check_text(text, field, violations)
    violations.raise_if_any()


def _lineage(content: VersionContent) -> LineageMessage:
    lineage = content.lineage
    return LineageMessage(
        job=lineage.job,
        job_uid=lineage.job_uid,
        recipe=lineage.recipe,
        dataset_version=lineage.dataset_version,
        dataset_hash=lineage.dataset_hash,
        base=lineage.base,
        base_digest=lineage.base_digest,
        license=lineage.license,
        parameters=_struct(lineage.parameters),
        versions=lineage.versions,
        seed=lineage.seed,
    )


def _struct(data: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(dict(data))
    return struct
