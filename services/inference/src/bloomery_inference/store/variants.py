"""Variants of versions: asked for, made by jobs, deleted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_inference.model import Json, MadeVariant, ModelVersion, Variant, VariantResult, VariantState
from bloomery_inference.names import JOB
from bloomery_inference.store.rows import result_json, variant_of
from bloomery_inference.store.tables import MODELS, VARIANTS, VERSIONS
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore
from bloomery_kit.names import new_uid, short_id
from bloomery_vision.forms import Form

_SELECT = sa.select(VARIANTS, VERSIONS.c.number, MODELS.c.project, MODELS.c.id.label("model")).select_from(
    VARIANTS.join(VERSIONS.join(MODELS))
)


async def of_version(tx: Transaction, version_uid: str) -> tuple[Variant, ...]:
    """The variants of a version by id."""
    return tuple((await by_version(tx, [version_uid])).get(version_uid, ()))


async def by_version(tx: Transaction, uids: Sequence[str]) -> dict[str, list[Variant]]:
    """The variants of some versions by the version's uid, each in the order of ids."""
    found: dict[str, list[Variant]] = {}
    if uids:
        for row in await tx.execute(_SELECT.where(VARIANTS.c.version_uid.in_(uids)).order_by(VARIANTS.c.id)):
            found.setdefault(row.version_uid, []).append(variant_of(row))
    return found


@dataclass(frozen=True)
class Wanted:
    """A variant that a job is to make, of which there may be many, and each is looked at again and again."""

    uid: str
    job: str


async def pending(tx: Transaction, *, after: str, limit: int) -> list[Wanted]:
    """What jobs are to make, by uid, past `after`."""
    columns = VARIANTS.c
    behind = columns.state == VariantState.PENDING, columns.uid > after
    query = sa.select(columns.uid, columns.job).where(*behind).order_by(columns.uid).limit(limit)
    return [Wanted(row.uid, row.job) for row in await tx.execute(query)]


async def request(
    tx: Transaction,
    version: ModelVersion,
    form: Form,
    *,
    parameters: Mapping[str, Json],
    dataset_version: str,
    now: datetime,
) -> None:
    """Ask for a variant: a new one, or again one that FAILED; one that is PENDING or READY stays as it is.

    The job's name is known before the job exists, so that its result finds the variant whatever happens in between.
    """
    uid = new_uid()
    round_of_asking = {
        "uid": uid,
        "state": VariantState.PENDING,
        "reason": "",
        "job": JOB.format(project=version.project, job=f"optimize-{short_id(uid)}"),
        "parameters": parameters,
        "dataset_version": dataset_version,
        "update_time": now,
    }
    key = {"version_uid": version.uid, "id": form.id}
    fresh = {
        **key,
        **round_of_asking,
        "format": form.format,
        "precision": form.precision,
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


async def finish(tx: Transaction, job: str, *, result: VariantResult | None, reason: str, now: datetime) -> bool:
    """End the PENDING variant that `job` makes: READY with its result or FAILED; False where it ended."""
    state = VariantState.READY if result else VariantState.FAILED
    values: dict[str, Any] = {"state": state, "reason": reason, "update_time": now}
    if result:
        values["result"] = result_json(result)
    return await compare_and_set(
        tx, VARIANTS, VARIANTS.c.job == job, VARIANTS.c.state == VariantState.PENDING, values=values
    )


async def delete(tx: Transaction, uid: str) -> bool:
    """Forget a variant; False where it is gone already."""
    result = await tx.execute(sa.delete(VARIANTS).where(VARIANTS.c.uid == uid))
    return result.rowcount == 1


async def delete_all(tx: Transaction, version_uid: str) -> None:
    """Forget every variant of a version."""
    await tx.execute(sa.delete(VARIANTS).where(VARIANTS.c.version_uid == version_uid))


async def record(tx: Transaction, version_uid: str, job: str, made: MadeVariant, now: datetime) -> None:
    """Record a variant that was made together with its version."""
    row = {
        "uid": made.uid,
        "version_uid": version_uid,
        "id": made.id,
        "format": made.format,
        "precision": made.precision,
        "state": VariantState.FAILED if made.failure else VariantState.READY,
        "reason": made.failure,
        "job": job,
        "result": result_json(made.result),
        "create_time": now,
        "update_time": now,
    }
    await tx.execute(sa.insert(VARIANTS).values(row))


async def by_uid(tx: Transaction, uids: Collection[str]) -> dict[str, Variant]:
    """Variants by their uids, as far as they are there."""
    if not uids:
        return {}
    rows = await tx.execute(_SELECT.where(VARIANTS.c.uid.in_(uids)))
    return {row.uid: variant_of(row) for row in rows}


async def uids_of_version(tx: Transaction, version_uid: str) -> list[str]:
    """The uids of the variants of a version."""
    return list(await tx.scalars(sa.select(VARIANTS.c.uid).where(VARIANTS.c.version_uid == version_uid)))
