"""Reading what finished jobs report into the registry's own values."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from bloomery.common.v1 import Artifact as ArtifactMessage
from bloomery.training.v1 import FeedItem, Job, JobResult, ModelFacts, ModelInput, VariantFacts
from bloomery.vision.v1 import TaskType
from bloomery_inference.model import Artifact, InputSpec, Lineage, MadeVariant, VariantResult, VersionContent

_TASKS = {
    TaskType.TASK_TYPE_DETECT: "detect",
    TaskType.TASK_TYPE_SEGMENT: "segment",
    TaskType.TASK_TYPE_CLASSIFY: "classify",
}

VARIANT_ROLE = "variant/"
"""Prefix of the roles under which an OPTIMIZE job stores the files of a model directory."""


def version_uid(job_uid: str) -> str:
    """The uid of the version that a job makes, known before it is recorded."""
    return uuid.uuid5(uuid.UUID(job_uid), "model-version").hex


def model_uid(job_uid: str) -> str:
    """The uid of the model that is made for the version of a job, if there is none of its name."""
    return uuid.uuid5(uuid.UUID(job_uid), "model").hex


def version_content(item: FeedItem) -> VersionContent:
    """The facts of the version that a TRAIN or IMPORT job made. Raises TypeError or ValueError where they are none."""
    result, job = item.result, item.job
    details = _plain(result.details)
    model = result.model if result.HasField("model") else _facts_of(details, job)
    dataset, recipe = (_section(details, key) for key in ("dataset", "recipe"))
    return VersionContent(
        task=_TASKS.get(model.task, ""),
        classes=tuple(model.classes),
        artifacts=artifacts_of(artifact for artifact in result.artifacts if not _is_variants(artifact, result)),
        metrics=dict(result.metrics),
        lineage=Lineage(
            job=job.name,
            job_uid=result.job_uid,
            recipe=f"{job.recipe} {recipe.get('version', '')}".strip(),
            dataset_version=job.dataset_version,
            dataset_hash=str(dataset.get("content_hash", "")),
            base=model.base,
            base_digest=model.base_digest,
            license=model.license,
            seed=model.seed,
            parameters=_plain(job.effective_parameters),
            versions=dict(result.versions),
        ),
        input=InputSpec(model.input.height, model.input.width, model.input.resize),
        details=details,
        decoder=model.decoder,
    )


def made_variants(item: FeedItem) -> tuple[MadeVariant, ...]:
    """The variants that a job made, or failed to make, beside a version."""
    return tuple(_made(facts, item.result) for facts in item.result.variants)


def variant_result(item: FeedItem) -> tuple[VariantResult, str]:
    """The facts of the variant that an OPTIMIZE job made, and why it is none where it failed."""
    if item.result.variants:
        (made,) = made_variants(item)
        return made.result, made.failure
    details = _plain(item.result.details)
    files = [artifact for artifact in item.result.artifacts if artifact.role.startswith(VARIANT_ROLE)]
    result = VariantResult(
        artifacts=artifacts_of(files),
        device=str(details.get("device", "cpu")),
        parity=_section(details, "parity"),
        latency=_section(details, "latency"),
    )
    return result, ""


def artifacts_of(messages: Iterable[ArtifactMessage]) -> tuple[Artifact, ...]:
    """Artifacts of a result."""
    return tuple(Artifact(m.role, m.digest, m.size_bytes, m.media_type, m.logical_key, m.file_name) for m in messages)


def _plain(struct: Struct) -> dict[str, Any]:
    return json_format.MessageToDict(struct)


def _section(details: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = details.get(key)
    return value if isinstance(value, dict) else {}


def _facts_of(details: Mapping[str, Any], job: Job) -> ModelFacts:
    """The facts of a model as results gave them before they had a message of their own."""
    base, size = _section(details, "base"), _section(details, "input")
    parameters = _plain(job.effective_parameters)
    task = str(details.get("task", ""))
    return ModelFacts(
        task=next((number for number, name in _TASKS.items() if name == task), TaskType.TASK_TYPE_UNSPECIFIED),
        classes=[str(name) for name in details.get("classes", ())],
        input=ModelInput(
            height=int(size.get("height", 0)), width=int(size.get("width", 0)), resize=str(size.get("resize", ""))
        ),
        license=str(details.get("license", "")),
        base=str(base.get("name", job.base)),
        base_digest=str(base.get("digest", "")),
        seed=int(details.get("seed", parameters.get("seed", 0))),
    )


def _made(facts: VariantFacts, result: JobResult) -> MadeVariant:
    files = [artifact for artifact in result.artifacts if artifact.role.startswith(facts.role_prefix)]
    return MadeVariant(
        uid=uuid.uuid5(uuid.UUID(result.job_uid), f"variant/{facts.id}").hex,
        id=facts.id,
        format=facts.format,
        precision=facts.precision,
        result=VariantResult(
            artifacts=() if facts.failure else artifacts_of(files),
            device=facts.device or "cpu",
            parity=_measured(facts, "parity"),
            latency=_measured(facts, "latency"),
        ),
        failure=facts.failure,
    )


def _measured(facts: VariantFacts, field: str) -> dict[str, Any]:
    if not facts.HasField(field):  # type: ignore[arg-type]
        return {}
    return json_format.MessageToDict(
        getattr(facts, field), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _is_variants(artifact: ArtifactMessage, result: JobResult) -> bool:
    return any(artifact.role.startswith(facts.role_prefix) for facts in result.variants if facts.role_prefix)
