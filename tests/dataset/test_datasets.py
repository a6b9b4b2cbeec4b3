"""Datasets and their versions, on both databases."""

import asyncio
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2

from bloomery.dataset.v1 import (
    CreateDatasetRequest,
    CreateDatasetVersionRequest,
    Dataset,
    DatasetSpec,
    DatasetVersion,
    DeleteDatasetRequest,
    DeleteDatasetVersionRequest,
    GetDatasetRequest,
    ListDatasetsRequest,
    ListDatasetVersionsRequest,
    SplitPolicy,
    UpdateDatasetRequest,
)
from bloomery.vision.v1 import TaskType
from bloomery_dataset.app import MIGRATIONS
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.store.tables import CLEANUPS, METADATA
from bloomery_kit.database import Database
from bloomery_kit.migrations import migrate
from bloomery_kit.sequences import next_sequence
from tests.dataset.annotations import PROJECT, FakeAnnotations
from tests.dataset.helpers import (
    DATASET,
    DETECT,
    PARENT,
    Service,
    box,
    failure,
    has,
    until,
)


@pytest.fixture
def settings(both_settings: DatasetSettings) -> DatasetSettings:
    return both_settings


async def test_a_dataset_is_created_read_changed_and_deleted(service: Service) -> None:
    request = CreateDatasetRequest(parent=PARENT, dataset_id="cells-v", dataset=Dataset(labels={"a": "b"}))
    made = await service.stub.CreateDataset(request)
    assert (made.name, made.display_name, dict(made.labels)) == (DATASET, "cells-v", {"a": "b"})
    assert await service.stub.GetDataset(GetDatasetRequest(name=DATASET)) == made

    made.display_name = "Cells"
    changed = await service.stub.UpdateDataset(
        UpdateDatasetRequest(dataset=made, update_mask=FieldMask(paths=["display_name"]))
    )
    assert (changed.display_name, changed.uid) == ("Cells", made.uid)
    assert changed.etag != made.etag
    stale = service.stub.UpdateDataset(UpdateDatasetRequest(dataset=made))
    has(await failure(stale), grpc.StatusCode.ABORTED, "ETAG_MISMATCH")

    await service.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET))
    gone = service.stub.GetDataset(GetDatasetRequest(name=DATASET))
    has(await failure(gone), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_an_id_is_given_once(service: Service) -> None:
    request = CreateDatasetRequest(parent=PARENT, dataset_id="cells-v", request_id="r")
    answers = await asyncio.gather(*(service.stub.CreateDataset(request) for _ in range(3)))
    assert len({answer.uid for answer in answers}) == 1
    other = CreateDatasetRequest(parent=PARENT, dataset_id="cells-v")
    has(await failure(service.stub.CreateDataset(other)), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    request.dataset.display_name = "Other"
    has(await failure(service.stub.CreateDataset(request)), grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


async def test_a_repeat_is_answered_whatever_has_changed_since(service: Service, fake: FakeAnnotations) -> None:
    dataset = CreateDatasetRequest(parent=PARENT, dataset_id="cells-v", request_id="r")
    fake.add(1, [box()])
    first = (await service.stub.CreateDataset(dataset), await service.create(request_id="r"))
    fake.down = True
    assert (await service.stub.CreateDataset(dataset), await service.create(request_id="r")) == first
    fake.down, fake.labels = False, []
    spec = DatasetSpec(task=DETECT.task, class_mapping={"rbc": "RBC"})
    has(await failure(service.create(spec)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_the_migrations_make_the_tables_that_the_code_uses(any_database_url: str) -> None:
    db = Database.connect(any_database_url)
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        differences = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), METADATA)
        )
    await db.close()
    assert [one for one in differences if "alembic_version" not in str(one)] == []


async def test_what_cannot_be_cleaned_up_holds_up_nothing_else(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fake.add(1, [box()])
    version = await service.build()
    async with service.app._db.write() as tx:
        first = await next_sequence(tx, "versions", 150)
        common = {"project": PROJECT, "prefix": "x/"}
        stuck = [
            common | {"uid": f"{number:032x}", "holder": f"stuck-{number}", "ordinal": number}
            for number in range(first, first + 150)
        ]
        await tx.execute(sa.insert(CLEANUPS), stuck)
    await service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name))
    await until(lambda: not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()])


async def test_a_project_must_be_there(service: Service) -> None:
    request = CreateDatasetRequest(parent="projects/typo", dataset_id="cells-v")
    has(await failure(service.stub.CreateDataset(request)), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    has(await failure(service.create(parent="projects/typo/datasets/d")), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    version = CreateDatasetVersionRequest(parent=DATASET, dataset_version=DatasetVersion(spec=DETECT))
    has(await failure(service.stub.CreateDatasetVersion(version)), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_datasets_are_listed_by_pages(service: Service) -> None:
    for name in ("c", "a", "b"):
        await service.stub.CreateDataset(CreateDatasetRequest(parent=PARENT, dataset_id=name))
    for parent in (PARENT, "projects/-"):
        first = await service.stub.ListDatasets(ListDatasetsRequest(parent=parent, page_size=2))
        request = ListDatasetsRequest(parent=parent, page_size=2, page_token=first.next_page_token)
        second = await service.stub.ListDatasets(request)
        found = [*first.datasets, *second.datasets]
        assert [dataset.name.rpartition("/")[2] for dataset in found] == ["a", "b", "c"]
        assert (first.total_size, second.next_page_token) == (3, "")
    only = await service.stub.ListDatasets(ListDatasetsRequest(parent="projects/-", filter="id:b"))
    assert [dataset.name for dataset in only.datasets] == [f"{PARENT}/datasets/b"]
    for text in ("b", "id:b\0"):
        wrong = service.stub.ListDatasets(ListDatasetsRequest(parent=PARENT, filter=text))
        has(await failure(wrong), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_versions_are_listed_newest_first(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    first = await service.build()
    same = await service.build()
    fake.add(2, [box()])
    second = await service.build()
    other = await service.finish((await service.create(parent=f"{PARENT}/datasets/other")).name)
    assert same.reused

    for parent, expected in (
        (DATASET, [second, first]),
        (f"{PARENT}/datasets/-", [other, second, first]),
        ("projects/-/datasets/-", [other, second, first]),
        ("projects/-/datasets/other", [other]),
    ):
        request = ListDatasetVersionsRequest(parent=parent, page_size=2)
        page = await service.stub.ListDatasetVersions(request)
        found = list(page.dataset_versions)
        if page.next_page_token:
            request.page_token = page.next_page_token
            found += (await service.stub.ListDatasetVersions(request)).dataset_versions
        assert found == expected, parent


async def test_all_that_is_wrong_with_a_request_is_told_at_once(service: Service) -> None:
    spec = DatasetSpec(
        source="projects/other",
        split=SplitPolicy(train_percent=90, val_percent=-5, test_percent=10),
        class_mapping={"rbc": " x", "wbc": "a\nb"},
    )
    status = await failure(service.create(spec))

    has(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert {violation.field.removeprefix("dataset_version.spec.") for violation in bad.field_violations} == {
        "source",
        "task",
        "split",
        "split.val_percent",
        "class_mapping['rbc']",
        "class_mapping['wbc']",
    }


async def test_an_unknown_label_is_told_with_those_that_are_known(service: Service) -> None:
    spec = DatasetSpec(task=DETECT.task, class_mapping={"rbcs": "cell", "wbc": "cell", "x": ""})
    message = (await failure(service.create(spec))).message
    assert "'rbcs'" in message
    assert "'x'" in message
    assert "it has: rbc, wbc, platelets" in message
    none_left = DatasetSpec(task=DETECT.task, class_mapping={"rbc": ""})
    assert "leaves every label out" in (await failure(service.create(none_left))).message
    none_left = DatasetSpec(task=DETECT.task, class_mapping={"rbc": "", "wbc": "", "platelets": ""}, keep_unmapped=True)
    assert "leaves every label out" in (await failure(service.create(none_left))).message


@pytest.mark.parametrize(
    "spec",
    [
        DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY, include_empty=True),
        DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY, include_unannotated=True),
        DatasetSpec(task=DETECT.task, split=SplitPolicy(unassigned="val")),
        DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, unassigned="valid")),
        DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, seed=1)),
        DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_RATIO)),
        DatasetSpec(task=99),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_together_is_refused(service: Service, spec: DatasetSpec) -> None:
    has(await failure(service.create(spec)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_defaults_are_filled_in(service: Service) -> None:
    spec = (await service.create(DatasetSpec(task=DETECT.task, split=SplitPolicy(seed=3)))).spec
    assert spec.source == PARENT
    assert spec.split == SplitPolicy(
        method=SplitPolicy.METHOD_RATIO, train_percent=80, val_percent=10, test_percent=10, seed=3
    )


async def test_deleting_the_latest_version_makes_the_one_before_the_latest(
    service: Service, fake: FakeAnnotations
) -> None:
    for number in range(2):
        fake.add(number, [box()])
        await service.build()
    await service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=f"{DATASET}/versions/latest"))
    assert (await service.get(f"{DATASET}/versions/latest")).version == 1
    assert (await service.stub.GetDataset(GetDatasetRequest(name=DATASET))).latest_version == 1


@pytest.mark.parametrize(
    "name", ["", "x", f"{DATASET}/versions/0", f"{DATASET}/versions/abc", f"{DATASET}/versions/1/x", "projects/-"]
)
async def test_a_malformed_name_is_refused(service: Service, name: str) -> None:
    has(await failure(service.get(name)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
