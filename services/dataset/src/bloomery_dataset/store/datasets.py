"""Datasets."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import sqlalchemy as sa

from bloomery_dataset.model import Dataset
from bloomery_dataset.store.rows import dataset_of
from bloomery_dataset.store.tables import DATASETS, UNHELD, VERSIONS
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore
from bloomery_kit.errors import NotFound
from bloomery_kit.etags import check_etag, etag_of
from bloomery_kit.names import new_uid
from bloomery_kit.visible import shown

_LATEST = sa.select(sa.func.max(VERSIONS.c.number)).where(VERSIONS.c.dataset_uid == DATASETS.c.uid).scalar_subquery()
_SELECT = sa.select(DATASETS, _LATEST.label("latest_version"))


def etag(dataset: Dataset) -> str:
    """What changes with every change of the dataset's own fields."""
    return etag_of(dataset.uid, dataset.revision)


async def insert(
    tx: Transaction,
    project: str,
    dataset: str,
    *,
    project_uid: str,
    now: datetime,
    display_name: str = "",
    labels: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    """Add a dataset; False where the id is taken."""
    row = {
        "uid": new_uid(),
        "project": project,
        "project_uid": project_uid,
        "dataset": dataset,
        "display_name": display_name or dataset,
        "labels": dict(labels),
        "create_time": now,
        "update_time": now,
        "revision": 1,
        "last_number": 0,
        "held": False,
    }
    return await insert_ignore(tx, DATASETS, row)


async def get(tx: Transaction, project: str, dataset: str) -> Dataset:
    """A dataset by its ids. Raises NotFound."""
    found = await tx.execute(_SELECT.where(DATASETS.c.project == project, DATASETS.c.dataset == dataset))
    row = found.one_or_none()
    if row is None:
        raise NotFound("dataset", f"projects/{project}/datasets/{dataset}", "list the datasets of the project")
    return dataset_of(row)


async def lock(tx: Transaction, project: str, dataset: str) -> Dataset:
    """The same, and nobody else creates, numbers or deletes versions of it until this transaction ends."""
    key = (DATASETS.c.project == project, DATASETS.c.dataset == dataset)
    await tx.execute(sa.select(DATASETS.c.uid).where(*key).with_for_update())
    return await get(tx, project, dataset)


async def page(
    tx: Transaction, *, project: str | None, dataset: str | None, after: tuple[str, str] | None, limit: int
) -> list[Dataset]:
    """Datasets in the order of project and id; of all projects only those that the caller may see."""
    query = _SELECT.where(*_selected(project, dataset)).order_by(DATASETS.c.project, DATASETS.c.dataset).limit(limit)
    if after:
        query = query.where(sa.tuple_(DATASETS.c.project, DATASETS.c.dataset) > sa.tuple_(*map(sa.literal, after)))
    return [dataset_of(row) for row in await tx.execute(query)]


async def count(tx: Transaction, *, project: str | None, dataset: str | None) -> int:
    """How many there are in all pages."""
    return int(await tx.scalar(sa.select(sa.func.count(DATASETS.c.uid)).where(*_selected(project, dataset))) or 0)


async def unheld(tx: Transaction, *, after: str, limit: int) -> list[Dataset]:
    """Datasets that are not known to hold their project, by uid."""
    query = _SELECT.where(UNHELD, DATASETS.c.uid > after).order_by(DATASETS.c.uid).limit(limit)
    return [dataset_of(row) for row in await tx.execute(query)]


async def note_held(tx: Transaction, uid: str, project_uid: str) -> bool:
    """Remember that a dataset holds its project; False where the dataset is gone."""
    return await compare_and_set(tx, DATASETS, DATASETS.c.uid == uid, values={"held": True, "project_uid": project_uid})


async def update(
    tx: Transaction, project: str, dataset: str, *, given_etag: str, values: Mapping[str, object], now: datetime
) -> Dataset:
    """Change fields. Raises NotFound, EtagMismatch."""
    found = await lock(tx, project, dataset)
    check_etag(given_etag, etag(found), found.name)
    changes = {**values, "update_time": now, "revision": found.revision + 1}
    await tx.execute(sa.update(DATASETS).where(DATASETS.c.uid == found.uid).values(changes))
    return await get(tx, project, dataset)


async def delete(tx: Transaction, uid: str) -> None:
    """Remove a dataset without versions."""
    await tx.execute(sa.delete(DATASETS).where(DATASETS.c.uid == uid))


async def next_number(tx: Transaction, uid: str) -> int:
    """Take the next version number, which stays taken."""
    last = DATASETS.c.last_number
    statement = sa.update(DATASETS).where(DATASETS.c.uid == uid).values(last_number=last + 1).returning(last)
    return int((await tx.execute(statement)).scalar_one())


def _selected(project: str | None, dataset: str | None) -> list[sa.ColumnElement[bool]]:
    conditions = shown(DATASETS.c.project, project)
    if dataset is not None:
        conditions.append(DATASETS.c.dataset == dataset)
    return conditions
