"""SQL of the model registry. Every function runs in a transaction that its caller opened."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_inference.model import Model, ModelVersion, Variant, VariantResult, VariantState, VersionContent
from bloomery_inference.names import JOB, LATEST, Selector
from bloomery_inference.rows import content_json, model_of, result_json, variant_of, version_of
from bloomery_inference.tables import FEEDS, MODELS, VARIANTS, VERSIONS
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore
from bloomery_kit.names import new_uid
from bloomery_kit.sequences import next_sequence

_VERSION_COLUMNS = (
    VERSIONS.c.uid,
    VERSIONS.c.number,
    VERSIONS.c.content,
    VERSIONS.c.create_time,
    MODELS.c.project,
    MODELS.c.id.label("model"),
)
_FROM_VERSIONS = VERSIONS.join(MODELS)
_SELECT_VERSIONS = sa.select(*_VERSION_COLUMNS).select_from(_FROM_VERSIONS).where(~VERSIONS.c.deleted)
_SELECT_VARIANTS = sa.select(VARIANTS, VERSIONS.c.number, MODELS.c.project, MODELS.c.id.label("model")).select_from(
    VARIANTS.join(_FROM_VERSIONS)
)


async def feed_sequence(tx: Transaction, name: str) -> int:
    """How far the feed `name` was read; 0 at the start."""
    return int(await tx.scalar(sa.select(FEEDS.c.sequence).where(FEEDS.c.name == name)) or 0)


async def advance_feed(tx: Transaction, name: str, sequence: int) -> bool:
    """Move the feed to `sequence` and lock its row; False where it is there already."""
    await insert_ignore(tx, FEEDS, {"name": name, "sequence": 0})
    return await compare_and_set(
        tx, FEEDS, FEEDS.c.name == name, FEEDS.c.sequence < sequence, values={"sequence": sequence}
    )


async def ensure_model(tx: Transaction, project: str, model_id: str, now: datetime) -> str:
    """The uid of a model, which is created where it is missing."""
    row = {
        "uid": new_uid(),
        "project": project,
        "id": model_id,
        "display_name": model_id,
        "labels": {},
        "create_time": now,
        "update_time": now,
        "revision": 1,
        "latest_version": 0,
    }
    await insert_ignore(tx, MODELS, row)
    uid: str = (
        await tx.execute(sa.select(MODELS.c.uid).where(MODELS.c.project == project, MODELS.c.id == model_id))
    ).scalar_one()
    return uid


async def insert_version(
    tx: Transaction, *, uid: str, model_uid: str, content: VersionContent, now: datetime
) -> int | None:
    """Record a version under the model's next number; None where its job is recorded already."""
    lineage = content.lineage
    recorded = sa.select(VERSIONS.c.uid).where(VERSIONS.c.job_uid == lineage.job_uid)
    if await tx.scalar(recorded) is not None:
        return None
    number = await next_sequence(tx, f"model/{model_uid}")
    row = {
        "uid": uid,
        "model_uid": model_uid,
        "number": number,
        "job_uid": lineage.job_uid,
        "job": lineage.job,
        "content": content_json(content),
        "create_time": now,
        "deleted": False,
    }
    await tx.execute(sa.insert(VERSIONS).values(row))
    await tx.execute(sa.update(MODELS).where(MODELS.c.uid == model_uid).values(latest_version=number))
    return number


async def get_model(tx: Transaction, project: str, model_id: str) -> Model | None:
    """A model by its ids."""
    found = await tx.execute(sa.select(MODELS).where(MODELS.c.project == project, MODELS.c.id == model_id))
    row = found.one_or_none()
    return model_of(row) if row else None


async def list_models(
    tx: Transaction, *, project: str | None, model_id: str | None, after: tuple[str, str] | None, limit: int
) -> list[Model]:
    """Models in the order of project and id."""
    query = sa.select(MODELS).order_by(MODELS.c.project, MODELS.c.id).limit(limit)
    query = _where(query, {MODELS.c.project: project, MODELS.c.id: model_id})
    if after:
        query = query.where(sa.tuple_(MODELS.c.project, MODELS.c.id) > sa.tuple_(*map(sa.literal, after)))
    return [model_of(row) for row in await tx.execute(query)]


async def count_models(tx: Transaction, *, project: str | None, model_id: str | None) -> int:
    """How many models `list_models` would give in all."""
    query = _where(sa.select(sa.func.count()).select_from(MODELS), {MODELS.c.project: project, MODELS.c.id: model_id})
    return int(await tx.scalar(query) or 0)


async def update_model(tx: Transaction, model: Model, values: Mapping[str, object], now: datetime) -> bool:
    """Change a model's own fields; False where somebody else was first."""
    return await compare_and_set(
        tx,
        MODELS,
        MODELS.c.uid == model.uid,
        MODELS.c.revision == model.revision,
        values={**values, "update_time": now, "revision": model.revision + 1},
    )


async def get_version(tx: Transaction, selector: Selector) -> ModelVersion | None:
    """A version with its variants."""
    query = _SELECT_VERSIONS.where(MODELS.c.project == selector.project, MODELS.c.id == selector.model)
    if selector.version == LATEST:
        query = query.order_by(VERSIONS.c.number.desc()).limit(1)
    elif selector.version.isdigit() and len(selector.version) < 19:
        query = query.where(VERSIONS.c.number == int(selector.version))
    else:
        query = query.where(VERSIONS.c.uid == selector.version)
    row = (await tx.execute(query)).one_or_none()
    return version_of(row, await variants_of(tx, row.uid)) if row else None


async def find_version(tx: Transaction, job: str) -> ModelVersion | None:
    """The version that a job made."""
    row = (await tx.execute(_SELECT_VERSIONS.where(VERSIONS.c.job == job))).one_or_none()
    return version_of(row, await variants_of(tx, row.uid)) if row else None


async def list_versions(
    tx: Transaction, *, project: str | None, model_id: str | None, after: tuple[datetime, str] | None, limit: int
) -> list[ModelVersion]:
    """Versions with their variants, newest first."""
    query = _where(_SELECT_VERSIONS, {MODELS.c.project: project, MODELS.c.id: model_id})
    if after:
        query = query.where(
            sa.or_(
                VERSIONS.c.create_time < after[0],
                sa.and_(VERSIONS.c.create_time == after[0], VERSIONS.c.uid < after[1]),
            )
        )
    rows = (await tx.execute(query.order_by(VERSIONS.c.create_time.desc(), VERSIONS.c.uid.desc()).limit(limit))).all()
    variants = await _variants_by_version(tx, [row.uid for row in rows])
    return [version_of(row, tuple(variants.get(row.uid, ()))) for row in rows]


async def delete_version(tx: Transaction, uid: str) -> bool:
    """Forget a version with its variants; False where it is gone already."""
    await tx.execute(sa.delete(VARIANTS).where(VARIANTS.c.version_uid == uid))
    return await compare_and_set(tx, VERSIONS, VERSIONS.c.uid == uid, ~VERSIONS.c.deleted, values={"deleted": True})


async def variants_of(tx: Transaction, version_uid: str) -> tuple[Variant, ...]:
    """The variants of a version by id."""
    return tuple((await _variants_by_version(tx, [version_uid])).get(version_uid, ()))


async def pending_variants(tx: Transaction) -> list[Variant]:
    """All variants that a job is to make."""
    query = _SELECT_VARIANTS.where(VARIANTS.c.state == VariantState.PENDING)
    return [variant_of(row) for row in await tx.execute(query)]


async def request_variant(
    tx: Transaction, version: ModelVersion, *, format: str, precision: str, now: datetime
) -> None:
    """Ask for a variant: a new one, or again one that FAILED; one that is PENDING or READY stays as it is.

    The job's name is known before the job exists, so that its result finds the variant whatever happens in between.
    """
    uid = new_uid()
    round_of_asking = {
        "uid": uid,
        "state": VariantState.PENDING,
        "reason": "",
        "job": JOB.format(project=version.project, job=f"optimize-{uid[:12]}"),
        "update_time": now,
    }
    key = {"version_uid": version.uid, "id": f"{format}-{precision}"}
    fresh = {
        **key,
        **round_of_asking,
        "format": format,
        "precision": precision,
        "result": result_json(VariantResult()),
        "create_time": now,
    }
    if await insert_ignore(tx, VARIANTS, fresh):
        return
    await compare_and_set(
        tx,
        VARIANTS,
        VARIANTS.c.version_uid == key["version_uid"],
        VARIANTS.c.id == key["id"],
        VARIANTS.c.state == VariantState.FAILED,
        values=round_of_asking,
    )


async def finish_variant(
    tx: Transaction, job: str, *, result: VariantResult | None, reason: str, now: datetime
) -> bool:
    """End the PENDING variant that `job` makes: READY with its result or FAILED; False where it ended."""
    state = VariantState.READY if result else VariantState.FAILED
    values: dict[str, Any] = {"state": state, "reason": reason, "update_time": now}
    if result:
        values["result"] = result_json(result)
    return await compare_and_set(
        tx, VARIANTS, VARIANTS.c.job == job, VARIANTS.c.state == VariantState.PENDING, values=values
    )


async def delete_variant(tx: Transaction, uid: str) -> bool:
    """Forget a variant; False where it is gone already."""
    result = await tx.execute(sa.delete(VARIANTS).where(VARIANTS.c.uid == uid))
    return result.rowcount == 1


async def _variants_by_version(tx: Transaction, uids: Sequence[str]) -> dict[str, list[Variant]]:
    found: dict[str, list[Variant]] = {}
    if not uids:
        return found
    query = _SELECT_VARIANTS.where(VARIANTS.c.version_uid.in_(uids)).order_by(VARIANTS.c.id)
    for row in await tx.execute(query):
        found.setdefault(row.version_uid, []).append(variant_of(row))
    return found


def _where(query: Any, terms: Mapping[sa.Column[Any], str | None]) -> Any:
    for column, value in terms.items():
        if value is not None:
            query = query.where(column == value)
    return query
