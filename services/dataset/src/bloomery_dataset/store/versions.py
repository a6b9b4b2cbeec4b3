"""Versions, who holds them, and their exports."""

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from bloomery_dataset.model import Blob, Dataset, Export, ExportFormat, Reference, Spec, State, Version
from bloomery_dataset.names import VersionName
from bloomery_dataset.store.rows import Row, reference_of, spec_json, version_of
from bloomery_dataset.store.tables import CLEANUPS, DATASETS, EXPORTS, REFERENCES, VERSIONS
from bloomery_kit.database import Transaction, insert_ignore
from bloomery_kit.errors import NotFound
from bloomery_kit.names import new_uid
from bloomery_kit.sequences import next_sequence
from bloomery_kit.visible import shown

_FROM = VERSIONS.join(DATASETS, VERSIONS.c.dataset_uid == DATASETS.c.uid)
SELECT = sa.select(VERSIONS, DATASETS.c.project, DATASETS.c.dataset).select_from(_FROM)
_REFERENCES = sa.select(
    REFERENCES, VERSIONS.c.number, VERSIONS.c.ordinal, DATASETS.c.project, DATASETS.c.dataset
).select_from(_FROM.join(REFERENCES, REFERENCES.c.version_uid == VERSIONS.c.uid))
LEASE_PREFIX = "builds/"
_ORDER = "versions"


def lease_name(uid: str) -> str:
    """The name of the lease to build a version."""
    return f"{LEASE_PREFIX}{uid}"


async def insert(tx: Transaction, dataset: Dataset, spec: Spec, *, project_uid: str, now: datetime) -> Version:
    """Add a version to build."""
    uid = new_uid()
    row = {
        "uid": uid,
        "dataset_uid": dataset.uid,
        "project_uid": project_uid,
        "ordinal": await next_sequence(tx, _ORDER),
        "spec": spec_json(spec),
        "state": State.BUILDING,
        "create_time": now,
        "update_time": now,
        "sequence": 1,
        "done_count": 0,
        "item_count": 0,
        "attempts": 0,
    }
    await tx.execute(sa.insert(VERSIONS).values(row))
    return await by_uid(tx, uid)


async def by_uid(tx: Transaction, uid: str) -> Version:
    """A version by its uid. Raises NotFound."""
    return version_of(await _one(tx, [VERSIONS.c.uid == uid], uid))


async def get(tx: Transaction, name: VersionName) -> Version:
    """The version of a name; where its build ended with an earlier version, that one. Raises NotFound."""
    row = await _one(tx, _named(name), str(name))
    if row.same_as is None:
        return version_of(row)
    earlier = await by_uid(tx, row.same_as)
    return replace(earlier, reused=True, sequence=row.sequence)


async def lock(tx: Transaction, name: VersionName) -> Version:
    """The same, and nobody else holds or deletes it until this transaction ends."""
    version = await get(tx, name)
    await tx.execute(sa.select(VERSIONS.c.uid).where(VERSIONS.c.uid == version.uid).with_for_update())
    return await by_uid(tx, version.uid)


async def page(
    tx: Transaction, *, project: str | None, dataset: str | None, before: int | None, limit: int
) -> list[tuple[int, Version]]:
    """Versions, newest first, each with its place in that order; without those that ended with an earlier one."""
    query = SELECT.where(VERSIONS.c.same_as.is_(None)).order_by(VERSIONS.c.ordinal.desc()).limit(limit)
    query = query.where(*shown(DATASETS.c.project, project))
    if dataset is not None:
        query = query.where(DATASETS.c.dataset == dataset)
    if before is not None:
        query = query.where(VERSIONS.c.ordinal < before)
    return [(row.ordinal, version_of(row)) for row in await tx.execute(query)]


async def lock_all(tx: Transaction, dataset: Dataset) -> list[Version]:
    """All of a dataset, also those that ended with an earlier one; nobody else holds them until `tx` ends."""
    query = SELECT.where(VERSIONS.c.dataset_uid == dataset.uid).order_by(VERSIONS.c.ordinal)
    return [version_of(row) for row in await tx.execute(query.with_for_update(of=VERSIONS))]


async def delete(tx: Transaction, version: Version) -> None:
    """Remove a version with what ended with it, and leave a cleanup behind."""
    await leave_cleanup(tx, version)
    await tx.execute(sa.delete(VERSIONS).where(VERSIONS.c.uid == version.uid))


async def is_there(tx: Transaction, version: Version) -> bool:
    """Whether it is there, and then stays until `tx` ends."""
    query = sa.select(VERSIONS.c.uid).where(VERSIONS.c.uid == version.uid)
    return await tx.scalar(query.with_for_update(read=True)) is not None


async def leave_cleanup(tx: Transaction, gone: Dataset | Version) -> None:
    """Let its hold on its project and its objects be given up."""
    row = {
        "uid": gone.uid,
        "project": gone.project,
        "holder": gone.holder,
        "prefix": f"{gone.prefix}/",
        "ordinal": await next_sequence(tx, _ORDER),
    }
    await insert_ignore(tx, CLEANUPS, row)
    await tx.execute(sa.update(CLEANUPS).where(CLEANUPS.c.uid == gone.uid).values(last_time=None))


async def references(
    tx: Transaction, held: Dataset | Version, *, after: tuple[int, str] = (0, ""), limit: int
) -> list[tuple[int, Reference]]:
    """Who holds a version, or any of a dataset, in the order of versions and holders; each with the version's place."""
    of_held = VERSIONS.c.dataset_uid if isinstance(held, Dataset) else VERSIONS.c.uid
    place = sa.tuple_(VERSIONS.c.ordinal, REFERENCES.c.holder)
    query = _REFERENCES.where(of_held == held.uid, place > sa.tuple_(*map(sa.literal, after)))
    rows = await tx.execute(query.order_by(VERSIONS.c.ordinal, REFERENCES.c.holder).limit(limit))
    return [(row.ordinal, reference_of(row)) for row in rows]


async def acquire(tx: Transaction, version: Version, holder: str, title: str, now: datetime) -> Reference:
    """Hold a version; the first time counts, and the newest title."""
    row = {"version_uid": version.uid, "holder": holder, "create_time": now, "title": title}
    await insert_ignore(tx, REFERENCES, row)
    key = (REFERENCES.c.version_uid == version.uid, REFERENCES.c.holder == holder)
    await tx.execute(sa.update(REFERENCES).where(*key).values(title=title))
    return reference_of((await tx.execute(_REFERENCES.where(*key))).one())


async def release(tx: Transaction, uid: str, holder: str) -> None:
    """Give a version back; one that is not held is fine."""
    await tx.execute(sa.delete(REFERENCES).where(REFERENCES.c.version_uid == uid, REFERENCES.c.holder == holder))


async def export(tx: Transaction, uid: str, export_format: ExportFormat) -> Export | None:
    """The archive of a version in a format, if it was made before, and not by an older replica."""
    of_it = (EXPORTS.c.version_uid == uid, EXPORTS.c.format == export_format, EXPORTS.c.losses.is_not(sa.null()))
    row = (await tx.execute(sa.select(EXPORTS).where(*of_it))).one_or_none()
    return Export(Blob(row.digest, row.size_bytes, row.logical_key), row.losses) if row else None


async def add_export(tx: Transaction, uid: str, export_format: ExportFormat, made: Export) -> None:
    """Keep an archive, in the place of an older replica's."""
    older = (EXPORTS.c.version_uid == uid, EXPORTS.c.format == export_format, EXPORTS.c.losses.is_(sa.null()))
    await tx.execute(sa.delete(EXPORTS).where(*older))
    row = {
        "version_uid": uid,
        "format": export_format,
        "digest": made.archive.digest,
        "size_bytes": made.archive.size_bytes,
        "logical_key": made.archive.logical_key,
        "losses": dict(made.losses),
    }
    await insert_ignore(tx, EXPORTS, row)


def _named(name: VersionName) -> list[sa.ColumnElement[bool]]:
    dataset = [DATASETS.c.project == name.project, DATASETS.c.dataset == name.dataset]
    if name.number:
        return [*dataset, VERSIONS.c.number == name.number]
    if name.uid:
        return [*dataset, VERSIONS.c.uid == name.uid]
    mine = sa.select(sa.func.max(VERSIONS.c.number)).select_from(_FROM).where(*dataset).scalar_subquery()
    return [*dataset, VERSIONS.c.number == mine]


async def _one(tx: Transaction, where: list[sa.ColumnElement[bool]], name: str) -> Row:
    row = (await tx.execute(SELECT.where(*where))).one_or_none()
    if row is None:
        raise NotFound("dataset version", name, "list the versions of the dataset")
    return row
