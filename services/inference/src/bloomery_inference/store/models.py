"""Models and their versions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_inference.model import Model, ModelVersion, Origin, VersionContent
from bloomery_inference.names import LATEST, Selector
from bloomery_inference.store import aliases, variants
from bloomery_inference.store.rows import content_json, model_of, version_of
from bloomery_inference.store.tables import FORGOTTEN_RESULTS, MODELS, UNHELD, VERSIONS
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore
from bloomery_kit.sequences import current, next_sequence
from bloomery_kit.visible import shown

_VERSION_COLUMNS = (
    VERSIONS.c.uid,
    VERSIONS.c.number,
    VERSIONS.c.ordinal,
    VERSIONS.c.content,
    VERSIONS.c.create_time,
    VERSIONS.c.note,
    VERSIONS.c.active,
    VERSIONS.c.revision,
    MODELS.c.project,
    MODELS.c.id.label("model"),
)
_SELECT_VERSIONS = sa.select(*_VERSION_COLUMNS).select_from(VERSIONS.join(MODELS))


async def ensure_model(tx: Transaction, model: Model, *, held: bool) -> str:
    """The uid of the model of that name, which stays as it is until `tx` ends; where it is missing, `model` is made."""
    row = asdict(model) | {"held": held}
    await insert_ignore(tx, MODELS, row)
    # Nothing where somebody has just deleted the one that was in the way.
    return await lock_model(tx, model.project, model.id) or await ensure_model(tx, model, held=held)


async def is_there(tx: Transaction, uid: str) -> bool:
    """Whether a model is there."""
    return await tx.scalar(sa.select(MODELS.c.uid).where(MODELS.c.uid == uid)) is not None


async def unheld(tx: Transaction, *, after: str, limit: int) -> list[Model]:
    """Models that are not known to hold their project, by uid."""
    query = sa.select(MODELS).where(UNHELD, MODELS.c.uid > after).order_by(MODELS.c.uid).limit(limit)
    return [model_of(row) for row in await tx.execute(query)]


async def note_held(tx: Transaction, uid: str, project_uid: str) -> bool:
    """Remember that a model holds its project; False where the model is gone."""
    return await compare_and_set(tx, MODELS, MODELS.c.uid == uid, values={"held": True, "project_uid": project_uid})


async def lock_model(tx: Transaction, project: str, model_id: str) -> str | None:
    """The uid of a model, None where there is none; no version is recorded or deleted before this transaction ends."""
    query = sa.select(MODELS.c.uid).where(MODELS.c.project == project, MODELS.c.id == model_id)
    uid: str | None = await tx.scalar(query.with_for_update())
    return uid


async def delete_model(tx: Transaction, uid: str) -> None:
    """Forget a model whose versions are gone."""
    await tx.execute(sa.delete(MODELS).where(MODELS.c.uid == uid))


async def is_recorded(tx: Transaction, job_uid: str) -> bool:
    """Whether the version that a job made was recorded once, wherever it is now."""
    return await has_version(tx, job_uid) or await is_forgotten(tx, job_uid)


async def has_version(tx: Transaction, job_uid: str) -> bool:
    """Whether the version that a job made is there."""
    return await tx.scalar(sa.select(VERSIONS.c.uid).where(VERSIONS.c.job_uid == job_uid)) is not None


async def insert_version(tx: Transaction, *, uid: str, model_uid: str, content: VersionContent, now: datetime) -> None:
    """Record a version under the next number of a model that is locked."""
    lineage = content.lineage
    number = await next_sequence(tx, _numbers(model_uid))
    row = {
        "uid": uid,
        "model_uid": model_uid,
        "number": number,
        "ordinal": await next_sequence(tx, "versions"),
        "job_uid": lineage.job_uid,
        "job": lineage.job,
        "content": content_json(content),
        "dataset_version": lineage.dataset_version,
        "base": lineage.base,
        "create_time": now,
    }
    await tx.execute(sa.insert(VERSIONS).values(row))
    await tx.execute(sa.update(MODELS).where(MODELS.c.uid == model_uid).values(latest_version=number))


async def next_number(tx: Transaction, project: str, model_id: str) -> int:
    """The number that the next version of a model will get, as this transaction sees it."""
    model = await get_model(tx, project, model_id)
    return await current(tx, _numbers(model.uid)) + 1 if model else 1


async def is_forgotten(tx: Transaction, job_uid: str) -> bool:
    """Whether the version that a job made was deleted."""
    query = sa.select(FORGOTTEN_RESULTS.c.job_uid).where(FORGOTTEN_RESULTS.c.job_uid == job_uid)
    return await tx.scalar(query) is not None


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
    query = _where(query.where(*shown(MODELS.c.project, project)), {MODELS.c.id: model_id})
    if after:
        query = query.where(sa.tuple_(MODELS.c.project, MODELS.c.id) > sa.tuple_(*map(sa.literal, after)))
    return [model_of(row) for row in await tx.execute(query)]


async def count_models(tx: Transaction, *, project: str | None, model_id: str | None) -> int:
    """How many models `list_models` would give in all."""
    query = sa.select(sa.func.count()).select_from(MODELS).where(*shown(MODELS.c.project, project))
    query = _where(query, {MODELS.c.id: model_id})
    return int(await tx.scalar(query) or 0)


async def update_model(tx: Transaction, model: Model, values: Mapping[str, object], now: datetime) -> Model:
    """A model that is locked with its own fields changed."""
    changed = {**values, "update_time": now, "revision": model.revision + 1}
    update = sa.update(MODELS).where(MODELS.c.uid == model.uid).values(changed)
    return model_of((await tx.execute(update.returning(*MODELS.c))).one())


async def get_version(tx: Transaction, selector: Selector) -> ModelVersion | None:
    """A version with its variants, without its aliases."""
    query = _SELECT_VERSIONS.where(MODELS.c.project == selector.project, MODELS.c.id == selector.model)
    if selector.version == LATEST:
        query = query.where(VERSIONS.c.active).order_by(VERSIONS.c.number.desc()).limit(1)
    elif selector.number is not None:
        query = query.where(VERSIONS.c.number == selector.number)
    elif selector.is_uid:
        query = query.where(VERSIONS.c.uid == selector.version)
    else:
        query = query.where(VERSIONS.c.uid == aliases.named(selector.version))
    row = (await tx.execute(query)).one_or_none()
    return version_of(row, await variants.of_version(tx, row.uid)) if row else None


async def by_uid(tx: Transaction, uids: Collection[str]) -> dict[str, ModelVersion]:
    """Versions by their uids, without variants and aliases."""
    if not uids:
        return {}
    return {row.uid: version_of(row) for row in await tx.execute(_SELECT_VERSIONS.where(VERSIONS.c.uid.in_(uids)))}


async def name_version(tx: Transaction, version: ModelVersion) -> ModelVersion:
    """The version with the aliases that name it."""
    named = await aliases.by_version(tx, [version.uid])
    return replace(version, aliases=tuple(named.get(version.uid, ())))


async def find_version(tx: Transaction, job: str, job_uid: str) -> ModelVersion | None:
    """The version that a job made, complete; without a uid the newest one of the jobs that had this name."""
    query = _where(_SELECT_VERSIONS.where(VERSIONS.c.job == job), {VERSIONS.c.job_uid: job_uid or None})
    row = (await tx.execute(query.order_by(VERSIONS.c.ordinal.desc()).limit(1))).one_or_none()
    return (await _complete(tx, [row]))[0] if row else None


async def list_versions(
    tx: Transaction,
    *,
    project: str | None,
    model_id: str | None,
    before: int | None,
    limit: int,
    inactive: bool = False,
    origin: Origin | None = None,
) -> list[ModelVersion]:
    """Versions with their variants and aliases, newest first, also `inactive` ones or not.

    With `before`, of those that were recorded before the one with that ordinal; with `origin`, of those that come from
    there.
    """
    query = _where(_SELECT_VERSIONS.where(*shown(MODELS.c.project, project)), {MODELS.c.id: model_id})
    if origin:
        query = query.where(VERSIONS.c[origin.kind] == origin.name)
    if not inactive:
        query = query.where(VERSIONS.c.active)
    if before is not None:
        query = query.where(VERSIONS.c.ordinal < before)
    rows = (await tx.execute(query.order_by(VERSIONS.c.ordinal.desc()).limit(limit))).all()
    return await _complete(tx, rows)


async def lacks_origins(tx: Transaction) -> bool:
    """Whether a replica of before has recorded versions whose origins cannot be looked for."""
    return await tx.scalar(sa.select(VERSIONS.c.uid).where(*_UNFILLED).limit(1)) is not None


async def fill_origins(tx: Transaction) -> None:
    """Let the origins of such versions be found."""
    values = {VERSIONS.c.dataset_version: _said("dataset_version"), VERSIONS.c.base: _said("base")}
    await tx.execute(sa.update(VERSIONS).where(*_UNFILLED).values(values))


def _said(origin: str) -> sa.ColumnElement[str]:
    """What the facts of a version say."""
    return sa.func.coalesce(VERSIONS.c.content["lineage"][origin].as_string(), "")


_UNFILLED = (
    VERSIONS.c.dataset_version == "",
    VERSIONS.c.base == "",
    sa.or_(_said("dataset_version") != "", _said("base") != ""),
)


async def of_model(tx: Transaction, model_uid: str) -> list[ModelVersion]:
    """The versions of a model in the order in which they were recorded, with their variants and aliases."""
    query = _SELECT_VERSIONS.where(VERSIONS.c.model_uid == model_uid).order_by(VERSIONS.c.ordinal)
    return await _complete(tx, (await tx.execute(query)).all())


async def lock_version(tx: Transaction, uid: str) -> bool:
    """Keep a version, and which variants it has, as they are until this transaction ends; False where it is gone."""
    query = sa.select(VERSIONS.c.uid).where(VERSIONS.c.uid == uid)
    return await tx.scalar(query.with_for_update()) is not None


async def update_version(tx: Transaction, version: ModelVersion, values: Mapping[str, object]) -> None:
    """Change what people say of a version whose model is locked."""
    changed = {**values, "revision": version.revision + 1}
    update = sa.update(VERSIONS).where(VERSIONS.c.uid == version.uid).values(changed).returning(VERSIONS.c.model_uid)
    await _note_latest(tx, (await tx.execute(update)).scalar_one())


async def delete_version(tx: Transaction, version: ModelVersion) -> None:
    """Forget a version without variants, and remember that its job's result was recorded once."""
    job_uid = version.content.lineage.job_uid
    await insert_ignore(tx, FORGOTTEN_RESULTS, {"job_uid": job_uid})
    row = (
        await tx.execute(sa.delete(VERSIONS).where(VERSIONS.c.uid == version.uid).returning(VERSIONS.c.model_uid))
    ).one()
    await _note_latest(tx, row.model_uid)


async def _note_latest(tx: Transaction, model_uid: str) -> None:
    offered = VERSIONS.c.model_uid == model_uid, VERSIONS.c.active
    newest = sa.select(sa.func.coalesce(sa.func.max(VERSIONS.c.number), 0)).where(*offered)
    update = sa.update(MODELS).where(MODELS.c.uid == model_uid)
    await tx.execute(update.values(latest_version=newest.scalar_subquery()))


async def _complete(tx: Transaction, rows: Sequence[sa.Row[Any]]) -> list[ModelVersion]:
    """The versions of some rows with their variants and aliases."""
    uids = [row.uid for row in rows]
    made, named = await variants.by_version(tx, uids), await aliases.by_version(tx, uids)
    return [version_of(row, tuple(made.get(row.uid, ())), tuple(named.get(row.uid, ()))) for row in rows]


def _numbers(model_uid: str) -> str:
    return f"model/{model_uid}"


def _where(query: Any, terms: Mapping[sa.Column[Any], str | None]) -> Any:
    for column, value in terms.items():
        if value is not None:
            query = query.where(column == value)
    return query
