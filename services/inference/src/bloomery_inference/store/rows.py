"""Between rows and values: the rich facts of versions and variants are JSON columns."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from bloomery_inference.model import (
    Artifact,
    InputSpec,
    Lineage,
    Model,
    ModelVersion,
    Variant,
    VariantResult,
    VariantState,
    VersionContent,
)

Row = sa.Row[Any]


def model_of(row: Row) -> Model:
    """A model from its row."""
    return Model(
        uid=row.uid,
        project=row.project,
        id=row.id,
        display_name=row.display_name,
        labels=row.labels,
        create_time=row.create_time,
        update_time=row.update_time,
        revision=row.revision,
        latest_version=row.latest_version,
        project_uid=row.project_uid,
    )


def version_of(row: Row, variants: tuple[Variant, ...] = (), aliases: tuple[str, ...] = ()) -> ModelVersion:
    """A version from its row joined with its model's."""
    return ModelVersion(
        uid=row.uid,
        project=row.project,
        model=row.model,
        number=row.number,
        content=_content(row.content),
        ordinal=row.ordinal,
        create_time=row.create_time,
        note=row.note,
        active=row.active,
        revision=row.revision,
        variants=variants,
        aliases=aliases,
    )


def variant_of(row: Row) -> Variant:
    """A variant from its row joined with its version's and model's."""
    return Variant(
        uid=row.uid,
        version_uid=row.version_uid,
        project=row.project,
        model=row.model,
        number=row.number,
        id=row.id,
        format=row.format,
        precision=row.precision,
        state=VariantState(row.state),
        reason=row.reason,
        job=row.job,
        parameters=row.parameters,
        dataset_version=row.dataset_version,
        result=_result(row.result),
        create_time=row.create_time,
        update_time=row.update_time,
    )


def content_json(content: VersionContent) -> dict[str, Any]:
    """The JSON column of a version."""
    return asdict(content)


def result_json(result: VariantResult) -> dict[str, Any]:
    """The JSON column of a variant."""
    return asdict(result)


def _content(data: dict[str, Any]) -> VersionContent:
    return VersionContent(
        task=data["task"],
        classes=tuple(data["classes"]),
        artifacts=_artifacts(data["artifacts"]),
        metrics=data["metrics"],
        lineage=Lineage(**data["lineage"]),
        input=InputSpec(**data["input"]),
        details=data["details"],
        decoder=data.get("decoder", ""),
    )


def _result(data: dict[str, Any]) -> VariantResult:
    return VariantResult(_artifacts(data["artifacts"]), data["device"], data["parity"], data["latency"])


def _artifacts(data: list[dict[str, Any]]) -> tuple[Artifact, ...]:
    return tuple(Artifact(**item) for item in data)
