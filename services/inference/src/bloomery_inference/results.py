"""Reading what finished jobs report into the registry's own values."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from bloomery.common.v1 import Artifact as ArtifactMessage
from bloomery.training.v1 import FeedItem
from bloomery_inference.model import Artifact, InputSpec, Lineage, VariantResult, VersionContent

VARIANT_ROLE = "variant/"
"""Prefix of the roles under which an OPTIMIZE job stores the files of a model directory."""


def version_uid(job_uid: str) -> str:
    """The uid of the version that a job makes, known before it is recorded."""
    return uuid.uuid5(uuid.UUID(job_uid), "model-version").hex


def version_content(item: FeedItem) -> VersionContent:
    """The facts of the version that a TRAIN or IMPORT job made."""
    result, job = item.result, item.job
    details = _plain(result.details)
    base, dataset, recipe = (_section(details, key) for key in ("base", "dataset", "recipe"))
    size = _section(details, "input")
    parameters = _plain(job.effective_parameters)
    return VersionContent(
        task=str(details.get("task", "")),
        classes=tuple(str(name) for name in details.get("classes", ())),
        artifacts=artifacts_of(result.artifacts),
        metrics=dict(result.metrics),
        lineage=Lineage(
            job=job.name,
            job_uid=result.job_uid,
            recipe=f"{job.recipe} {recipe.get('version', '')}".strip(),
            dataset_version=job.dataset_version,
            dataset_hash=str(dataset.get("content_hash", "")),
            base=str(base.get("name", job.base)),
            base_digest=str(base.get("digest", "")),
            license=str(details.get("license", "")),
            seed=int(details.get("seed", parameters.get("seed", 0))),
            parameters=parameters,
            versions=dict(result.versions),
        ),
        input=InputSpec(int(size.get("height", 0)), int(size.get("width", 0)), str(size.get("resize", ""))),
        details=details,
    )


def variant_result(item: FeedItem) -> VariantResult:
    """The facts of the variant that an OPTIMIZE job made."""
    details = _plain(item.result.details)
    files = [artifact for artifact in item.result.artifacts if artifact.role.startswith(VARIANT_ROLE)]
    return VariantResult(
        artifacts=artifacts_of(files),
        device=str(details.get("device", "cpu")),
        parity=_section(details, "parity"),
        latency=_section(details, "latency"),
    )


def artifacts_of(messages: Iterable[ArtifactMessage]) -> tuple[Artifact, ...]:
    """Artifacts of a result."""
    return tuple(Artifact(m.role, m.digest, m.size_bytes, m.media_type, m.logical_key, m.file_name) for m in messages)


def _plain(struct: Struct) -> dict[str, Any]:
    return json_format.MessageToDict(struct)


def _section(details: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = details.get(key)
    return value if isinstance(value, dict) else {}
