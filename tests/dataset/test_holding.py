"""A dataset keeps its project from being deleted, so that none shows in another project of the same id."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bloomery.dataset.v1 import (
    CreateDatasetRequest,
    Dataset,
    DeleteDatasetRequest,
    DeleteDatasetVersionRequest,
    GetDatasetRequest,
    ListDatasetsRequest,
)
from bloomery_dataset.annotations import Annotations
from bloomery_dataset.app import MIGRATIONS
from bloomery_dataset.housekeeping import LOOP, Housekeeper
from bloomery_dataset.model import Dataset as Stored
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.store import datasets
from bloomery_dataset.store.tables import DATASETS
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from bloomery_kit.migrations import migrate
from bloomery_kit.times import utc_now
from tests.databases import migrate_to
from tests.dataset.annotations import PROJECT, UID, FakeAnnotations
from tests.dataset.helpers import (
    DATASET,
    PARENT,
    Service,
    box,
    failure,
)


@pytest.fixture
def settings(both_settings: DatasetSettings) -> DatasetSettings:
    return both_settings


async def create(service: Service, request_id: str = "") -> Dataset:
    return await service.stub.CreateDataset(
        CreateDatasetRequest(parent=PARENT, dataset_id="cells-v", request_id=request_id)
    )


async def listed(service: Service) -> list[str]:
    return [found.name for found in (await service.stub.ListDatasets(ListDatasetsRequest(parent=PARENT))).datasets]


def holder(dataset: Dataset) -> str:
    return f"{PARENT}/datasets/{dataset.uid}"


async def test_an_empty_dataset_holds_its_project_until_it_is_deleted(
    idle: Service, fake: FakeAnnotations, housekeeper: Housekeeper
) -> None:
    created = await create(idle)
    assert (fake.holders, fake.titles[holder(created)]) == ({holder(created)}, "datasets/cells-v")
    await idle.stub.DeleteDataset(DeleteDatasetRequest(name=created.name))
    await housekeeper.tidy()
    assert not fake.holders
    again = await create(idle)
    assert fake.holders == {holder(again)}, "it is another dataset, so it has a hold of its own"


async def test_a_project_can_be_deleted_as_soon_as_its_datasets_are(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    first = await service.build()
    fake.add(2, [box()])
    await service.build()
    await service.app.loops.close(LOOP)
    assert len(fake.of_versions) == 2
    await service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=first.name))
    assert len(fake.of_versions) == 1
    await service.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET))
    assert not fake.holders


async def test_a_dataset_that_only_failed_holds_its_project(service: Service, fake: FakeAnnotations) -> None:
    assert (await service.build()).error.message
    found = await service.stub.GetDataset(GetDatasetRequest(name=DATASET))
    assert holder(found) in fake.holders


@pytest.fixture
def deleted_meanwhile(fake: FakeAnnotations, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project is deleted, and its id used again, after it was looked at and before it is held."""
    look = Annotations.project

    async def project(self: Annotations, project: str) -> object:
        found = await look(self, project)
        fake.use_id_again()
        monkeypatch.undo()
        return found

    monkeypatch.setattr(Annotations, "project", project)


@pytest.mark.usefixtures("deleted_meanwhile")
async def test_a_dataset_made_while_its_project_is_deleted_is_refused(idle: Service, fake: FakeAnnotations) -> None:
    assert error_info(await failure(create(idle, "r"))).reason == "NOT_FOUND"
    assert await listed(idle) == []
    assert (await create(idle, "r")).name == DATASET, "a repeat is for the project that there is now"
    assert len(fake.holders) == 1


@pytest.mark.usefixtures("deleted_meanwhile")
async def test_a_version_made_while_its_project_is_deleted_leaves_nothing(
    idle: Service, fake: FakeAnnotations, housekeeper: Housekeeper
) -> None:
    fake.add(1, [box()])
    assert error_info(await failure(idle.create())).reason == "NOT_FOUND"
    await housekeeper.tidy()
    assert (await listed(idle), fake.holders) == ([], set())


async def written(idle: Service, *, project_uid: str = UID, age: timedelta = timedelta(0)) -> Stored:
    """A dataset as it is after its creation, if nothing comes after that."""
    async with idle.app._db.write() as tx:
        assert await datasets.insert(tx, PROJECT, "cells-v", project_uid=project_uid, now=utc_now() - age)
        return await datasets.get(tx, PROJECT, "cells-v")


async def test_a_dataset_whose_creation_was_cut_off_holds_its_project_soon(
    idle: Service, fake: FakeAnnotations, housekeeper: Housekeeper
) -> None:
    dataset = await written(idle)
    fake.down = True
    await housekeeper.tidy()
    fake.down = False
    for _ in range(2):
        await housekeeper.tidy()
        assert fake.holders == {dataset.holder}


async def test_a_dataset_whose_creation_was_cut_off_goes_after_its_project(
    idle: Service, fake: FakeAnnotations, housekeeper: Housekeeper
) -> None:
    await written(idle)
    fake.use_id_again()
    await housekeeper.tidy()
    assert (await listed(idle), fake.holders) == ([], set())
    await create(idle)


@pytest.mark.parametrize("age", [timedelta(days=1), timedelta(0)])
async def test_a_dataset_that_does_not_know_its_project_belongs_to_one_that_is_older(
    idle: Service, fake: FakeAnnotations, housekeeper: Housekeeper, age: timedelta
) -> None:
    dataset = await written(idle, project_uid="", age=age)
    await housekeeper.tidy()
    stays = {dataset.holder} if not age else set()
    assert (len(await listed(idle)), fake.holders) == (len(stays), stays)


async def test_a_dataset_with_versions_stays_whatever_is_said_of_its_project(
    service: Service, fake: FakeAnnotations, housekeeper: Housekeeper
) -> None:
    fake.add(1, [box()])
    await service.build()
    async with service.app._db.write() as tx:
        await tx.execute(sa.update(DATASETS).values(held=False))
    fake.uid = "another installation's"
    await housekeeper.tidy()
    assert await listed(service) == [DATASET]


async def test_a_hold_that_comes_after_the_deletion_is_given_back(
    idle: Service, fake: FakeAnnotations, housekeeper: Housekeeper, later: Housekeeper
) -> None:
    """Another replica was about to hold the project, and dies when it has done so; or it does not."""
    dataset = await written(idle)
    await idle.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET))
    await housekeeper.tidy()
    fake.holders.add(dataset.holder)
    await later.tidy()
    assert not fake.holders
    await idle.app.servicer._catalog._holding.hold(dataset)
    assert fake.holders == {dataset.holder}
    await housekeeper.tidy()
    assert not fake.holders


async def test_datasets_from_before_know_their_projects_by_their_versions(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path}/old.db")
    await migrate_to(db, MIGRATIONS, "0004")
    async with db.write() as tx:
        for name in ("full", "empty"):
            values = f"'{name}', 'p', '{name}', '', '{{}}', '2026-01-01 00:00:00', '2026-01-01 00:00:00', 1, 0"
            await tx.execute(sa.text(f"INSERT INTO datasets VALUES ({values})"))
        columns = "uid, dataset_uid, project_uid, ordinal, spec, state, create_time, update_time, sequence, done_count"
        values = "'v', 'full', 'u', 1, '{}', 'FAILED', '2026-01-01', '2026-01-01', 1, 0, 0, 0"
        await tx.execute(sa.text(f"INSERT INTO versions ({columns}, item_count, attempts) VALUES ({values})"))
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        found = await datasets.unheld(tx, after="", limit=10)
    await db.close()
    assert [(one.dataset, one.project_uid) for one in found] == [("empty", ""), ("full", "u")]
