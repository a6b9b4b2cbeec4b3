"""What people do through the whole installation is in its audit log, once, and read as they read it."""

import asyncio
import time
from typing import Any

import pytest
from google.protobuf import descriptor_pool

from bloomery import AsyncClient, AsyncDataset, AsyncProject, Quota, errors
from bloomery.access.v1 import AuditEntry
from bloomery.dataset.v1 import CreateDatasetRequest
from bloomery_kit.audit import Entry
from bloomery_kit.permissions import mutates
from bloomery_server.embedded import EmbeddedServer


def client_of(server: EmbeddedServer, token: str = "") -> AsyncClient:
    return AsyncClient(f"127.0.0.1:{server._host.port}", token=token or server._identity.token)


async def listed(client: AsyncClient, **wanted: Any) -> list[AuditEntry]:
    return [one async for one in client.audit_entries(**wanted)]


async def entries(client: AsyncClient, count: int, **wanted: str) -> list[AuditEntry]:
    """As many entries as are to come, the newest first."""
    async with asyncio.timeout(30):
        while len(found := await listed(client, **wanted)) < count:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.1)
    return found


async def test_each_service_that_people_change_something_by_writes_it_down(server: EmbeddedServer) -> None:
    pool = descriptor_pool.Default()  # type: ignore[no-untyped-call]
    changing = {
        service
        for service in server._host._services
        for method in pool.FindServiceByName(service).methods
        if mutates(f"/{service}/{method.name}")
    }
    assert len(changing) >= 7
    assert changing <= server._host._audit._logs.keys()


async def test_calls_of_several_services_come_together_newest_first(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        project = await client.create_project("cells")
        with pytest.raises(errors.InvalidArgument):
            await client.create_project("NO")
        await (await made_dataset(client, project.name)).delete()
        found = await entries(client, 4)
    assert [(one.method.rpartition("/")[2], one.resource, one.code) for one in found] == [
        ("DeleteDataset", "projects/cells/datasets/d", "OK"),
        ("CreateDataset", "projects/cells/datasets/d", "OK"),
        ("CreateProject", "", "INVALID_ARGUMENT"),
        ("CreateProject", "projects/cells", "OK"),
    ]
    assert {one.subject for one in found} == {"owner"}
    assert found[-1].project_uid == project.proto.uid
    # The datasets' reference to the project is the dataset service's own doing.
    assert len({one.request_id for one in found}) == 4


async def made_dataset(client: AsyncClient, parent: str) -> AsyncDataset:
    """A dataset without versions, as only the API makes one."""
    session = await client.connect()
    await session.call(session.datasets.CreateDataset, CreateDatasetRequest(parent=parent, dataset_id="d"))
    return await client.dataset("d")


async def test_who_is_not_let_in_is_in_the_log_too(server: EmbeddedServer) -> None:
    async with client_of(server, "wrong") as nobody:
        with pytest.raises(errors.Unauthenticated):
            await nobody.create_project("cells")
    async with client_of(server) as client:
        [found] = await entries(client, 1, outcome="UNAUTHENTICATED")
    assert (found.subject, found.resource) == ("", "")


async def test_what_a_crash_cut_off_is_shown_as_unfinished(server: EmbeddedServer) -> None:
    log = server._host._audit._logs["bloomery.training.v1.JobService"]
    texts = dict.fromkeys(Entry.__dataclass_fields__, "")
    await log.begin(Entry(**texts | {"uid": f"{time.time_ns():x}", "subject": "anna", "method": "/s.S/CreateJob"}))
    log.news.wake()
    async with client_of(server) as client:
        [found] = await entries(client, 1, outcome="UNFINISHED")
    assert (found.subject, found.code) == ("anna", "")


async def test_limits_are_set_and_seen_by_the_client(server: EmbeddedServer) -> None:
    async with client_of(server) as client:
        project = await client.create_project("cells")
        quota = await allowed(project, images=5, gpus="none")
        assert (quota.images.used, quota.images.limit, quota.images.left) == (0, 5, 5)
        assert (quota.gpus.limit, quota.bytes.left) == (None, None)
        quota = await project.set_quota(images="default", bytes=7)
        assert (quota.images.limit, quota.bytes.limit) == (None, 7)
        with pytest.raises(errors.InvalidArgument, match="images"):
            await project.set_quota(images="many")


async def allowed(project: AsyncProject, **limits: Any) -> Quota:
    """Set limits as soon as access knows of the project."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await project.set_quota(**limits)
            except errors.NotFound:
                await asyncio.sleep(0.1)
