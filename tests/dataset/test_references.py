"""Who holds a version, and what a refused deletion says of it."""

import asyncio
from collections.abc import Sized
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.rpc import error_details_pb2

from bloomery.dataset.v1 import (
    AcquireReferenceRequest,
    DeleteDatasetRequest,
    DeleteDatasetVersionRequest,
    ListReferencesRequest,
    ReleaseReferenceRequest,
)
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.store import versions
from bloomery_dataset.store.tables import VERSIONS
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import (
    AS_SERVICE,
    DATASET,
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


async def test_a_version_that_is_held_is_not_deleted(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    fake.add(1, [box()])
    version = await service.build()
    for holder in ("projects/cells/jobs/j", "projects/cells/models/m/versions/1", "projects/cells/jobs/j"):
        await service.stub.AcquireReference(
            AcquireReferenceRequest(resource=version.name, holder=holder), metadata=AS_SERVICE
        )

    for call in (
        service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name)),
        service.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET)),
    ):
        status = await failure(call)
        has(status, grpc.StatusCode.FAILED_PRECONDITION, "STILL_REFERENCED")
        assert "is held by jobs/j, models/m/versions/1; delete what holds it first" in status.message

    for holder in ("projects/cells/jobs/j", "projects/cells/models/m/versions/1"):
        release = ReleaseReferenceRequest(resource=version.name, holder=holder)
        await asyncio.gather(
            service.stub.ReleaseReference(release, metadata=AS_SERVICE),
            service.stub.ReleaseReference(release, metadata=AS_SERVICE),
        )
    await service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name))
    has(await failure(service.get(version.name)), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    await until(lambda: not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()])
    assert not fake.of_versions

    again = await service.build()
    assert (again.version, again.content_hash) == (2, version.content_hash), "a number is not used again"


async def test_only_ready_versions_are_held(service: Service, fake: FakeAnnotations) -> None:
    fake.gate = asyncio.Event()
    for number in range(6):
        fake.add(number, [box()])
    version = await service.create()
    acquire = AcquireReferenceRequest(resource=version.name, holder="projects/cells/jobs/j")
    has(
        await failure(service.stub.AcquireReference(acquire, metadata=AS_SERVICE)),
        grpc.StatusCode.FAILED_PRECONDITION,
        "NOT_READY",
    )
    fake.gate.set()
    ready = await service.finish(version.name)
    reference = await service.stub.AcquireReference(acquire, metadata=AS_SERVICE)
    assert reference.resource == ready.name
    delete = service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=ready.name))
    has(await failure(delete), grpc.StatusCode.FAILED_PRECONDITION, "STILL_REFERENCED")


async def test_holders_are_listed_as_people_call_them(service: Service, fake: FakeAnnotations) -> None:
    held = []
    for number in range(2):
        fake.add(number, [box()])
        held.append((await service.build()).name)
    holders = [(held[0], "projects/cells/jobs/aa", "jobs/nightly"), (held[0], "projects/cells/jobs/bb", "")]
    holders.append((held[1], "projects/cells/models/m/versions/cc", "models/m@1"))
    for resource, holder, title in [*holders, (held[1], "projects/cells/models/m/versions/cc", "models/m@2")]:
        request = AcquireReferenceRequest(resource=resource, holder=holder, title=title)
        await service.stub.AcquireReference(request, metadata=AS_SERVICE)

    async def listed(parent: str) -> list[tuple[str, str]]:
        found, request = [], ListReferencesRequest(parent=parent, page_size=1)
        while True:
            page = await service.stub.ListReferences(request)
            found += [(one.resource, one.title) for one in page.references]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    first = [(held[0], "jobs/nightly"), (held[0], "jobs/bb")]
    assert await listed(held[0]) == first
    assert await listed(f"{DATASET}/versions/-") == [*first, (held[1], "models/m@2")]
    has(
        await failure(service.stub.ListReferences(ListReferencesRequest(parent=f"{PARENT}/datasets/no/versions/-"))),
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
    )


async def test_a_deletion_that_very_many_refuse_names_the_first_of_them(
    service: Service, fake: FakeAnnotations
) -> None:
    fake.add(1, [box()])
    version = await service.build()
    for number in range(12):
        request = AcquireReferenceRequest(
            resource=version.name, holder=f"projects/cells/jobs/{number:02}", title=f"jobs/{'l' * 60}-{number:02}"
        )
        await service.stub.AcquireReference(request, metadata=AS_SERVICE)

    for call in (
        service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name)),
        service.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET)),
    ):
        status = await failure(call)
        assert status.message.endswith("l-02 and others; delete what holds it first")
        refused = error_details_pb2.PreconditionFailure()
        assert any(detail.Unpack(refused) for detail in status.details)
        assert [one.description[-11:] for one in refused.violations] == [f"{n:02} holds it" for n in range(10)]


async def test_who_holds_a_dataset_is_asked_with_few_parameters_however_many_versions_it_has(
    service: Service, fake: FakeAnnotations
) -> None:
    """PostgreSQL takes 32,767 of them in a statement."""
    fake.add(1, [box()])
    version = await service.build()
    async with service.app._db.write() as tx:
        row = dict((await tx.execute(sa.select(VERSIONS))).mappings().one())
        await tx.execute(
            sa.insert(VERSIONS),
            [{**row, "uid": f"{n:032x}", "ordinal": 100 + n, "number": 2 + n} for n in range(50)],
        )
    acquire = AcquireReferenceRequest(resource=version.name, holder="projects/cells/jobs/j")
    await service.stub.AcquireReference(acquire, metadata=AS_SERVICE)
    counts: list[int] = []

    def count(_conn: object, _cursor: object, _statement: str, parameters: Sized, *_: object) -> None:
        counts.append(len(parameters))

    sa.event.listen(service.app._db.engine.sync_engine, "before_cursor_execute", count)
    listed = await service.stub.ListReferences(ListReferencesRequest(parent=f"{DATASET}/versions/-"))
    assert [one.title for one in listed.references] == ["jobs/j"]
    status = await failure(service.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET)))
    has(status, grpc.StatusCode.FAILED_PRECONDITION, "STILL_REFERENCED")
    assert 0 < max(counts) < 20


async def test_nobody_gets_hold_of_a_version_whose_dataset_is_being_deleted(
    service: Service, fake: FakeAnnotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder comes after the deletion has looked for holders, and before it deletes."""
    fake.add(1, [box()])
    version = await service.build()
    looked, go_on, looks = asyncio.Event(), asyncio.Event(), versions.references

    async def slow(*args: Any, **options: Any) -> object:
        found = await looks(*args, **options)
        looked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(versions, "references", slow)
    deleting = asyncio.ensure_future(service.stub.DeleteDataset(DeleteDatasetRequest(name=DATASET)))
    await looked.wait()
    acquire = AcquireReferenceRequest(resource=version.name, holder="projects/cells/jobs/late")
    acquiring = asyncio.ensure_future(failure(service.stub.AcquireReference(acquire, metadata=AS_SERVICE)))
    await asyncio.wait({acquiring}, timeout=0.3)
    go_on.set()
    await deleting
    has(await acquiring, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
