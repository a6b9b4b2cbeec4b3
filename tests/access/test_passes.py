"""What the access service is told of one project holds up no other, and an outage of it loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from bloomery.access.v1 import IssueTokenRequest, ListMembersRequest, WhoAmIRequest
from bloomery.annotation.v1 import AnnotationServiceStub, CreateProjectRequest, DeleteProjectRequest, GetProjectRequest
from bloomery_access.settings import AccessSettings
from bloomery_annotation import accounts
from bloomery_annotation.accounts import Accounts
from bloomery_annotation.app import AnnotationApp
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.auth import Role
from bloomery_kit.callers import AccessNeighbour, KnownCallers, authenticator_of
from bloomery_kit.clients import channel
from bloomery_kit.server import ServerOptions, ServiceHost
from tests import databases
from tests.access.helpers import OWNER, Access, refusal, serving, settings_for
from tests.passes import Work, each, fail_first, turns

WORKS = {accounts.LOOP: [Work(Accounts, "_tell", lambda _, news: news.uid)]}


@pytest.fixture
def settings(tmp_path: Path) -> AccessSettings:
    return settings_for(tmp_path, databases.sqlite_url("access", tmp_path / "access.db"))


class Annotation:
    """An annotation service beside the access service, whose background work a test does itself."""

    def __init__(self, app: AnnotationApp, callers: KnownCallers, address: str, stub: Any) -> None:
        self.app, self.callers, self.address, self.stub = app, callers, address, stub

    async def create(self, project: str) -> Any:
        return await self.stub.CreateProject(CreateProjectRequest(project_id=project))


@pytest.fixture
async def access(settings: AccessSettings) -> AsyncIterator[Access]:
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def annotation(access: Access, settings: AccessSettings, tmp_path: Path) -> AsyncIterator[Annotation]:
    common: dict[str, Any] = {"token": settings.token, "object_store": settings.object_store}
    url = databases.sqlite_url("annotation", tmp_path / "annotation.db")
    own = AnnotationSettings(**common, database_url=url, access_target=access.address)
    app = await AnnotationApp.open(own, draining=asyncio.Event())
    callers = authenticator_of(own)
    assert isinstance(callers, KnownCallers)
    host = ServiceHost(ServerOptions(), authenticator=callers)
    app.register(host)
    await host.start()
    address = f"127.0.0.1:{host.port}"
    async with channel(address, token=OWNER) as on:
        yield Annotation(app, callers, address, AnnotationServiceStub(on))
    await host.stop()
    await app.close()
    assert isinstance(callers._directory, AccessNeighbour)
    await callers._directory.close()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The access service is not told at once, as if it were away."""

    async def nothing(self: Accounts, project: str) -> None:
        pass

    monkeypatch.setattr(Accounts, "tell_soon", nothing)
    return monkeypatch


async def is_known(access: Access, project: str) -> bool:
    request = ListMembersRequest(parent=f"projects/{project}")
    try:
        await access.owner.ListMembers(request)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return True


@each(WORKS)
async def test_one_items_trouble_holds_up_no_other(
    annotation: Annotation, away: pytest.MonkeyPatch, loop: str, work: Work
) -> None:
    for name in ("p", "q"):
        await annotation.create(name)
    done = fail_first(away, work)
    await turns(annotation.app.loops, loop)
    assert len(done) == 1


async def test_who_creates_a_project_is_its_admin(annotation: Annotation, access: Access) -> None:
    await access.member("alice", Role.TRAINER)
    async with channel(annotation.address, token=await access.token("alice")) as on:
        await AnnotationServiceStub(on).CreateProject(CreateProjectRequest(project_id="cells"))
    (member,) = (await access.owner.ListMembers(ListMembersRequest(parent="projects/cells"))).members
    assert (member.subject, member.role) == ("alice", Role.ADMIN.value)


async def test_what_could_not_be_told_is_told_later(
    annotation: Annotation, access: Access, away: pytest.MonkeyPatch
) -> None:
    await annotation.create("cells")
    assert not await is_known(access, "cells")
    await turns(annotation.app.loops, accounts.LOOP)
    assert await is_known(access, "cells")
    await annotation.stub.DeleteProject(DeleteProjectRequest(name="projects/cells"))
    assert await is_known(access, "cells")
    await turns(annotation.app.loops, accounts.LOOP)
    assert not await is_known(access, "cells")


async def test_a_project_of_a_used_id_is_not_its_formers_members(
    annotation: Annotation, access: Access, away: pytest.MonkeyPatch
) -> None:
    await annotation.create("cells")
    await turns(annotation.app.loops, accounts.LOOP)
    await access.member("alice", Role.ADMIN, "cells")
    made = await access.owner.IssueToken(IssueTokenRequest(subject="alice", projects=["projects/cells"]))
    await annotation.stub.DeleteProject(DeleteProjectRequest(name="projects/cells"))
    await annotation.create("cells")
    await turns(annotation.app.loops, accounts.LOOP)
    async with channel(annotation.address, token=made.secret) as on:
        call = AnnotationServiceStub(on).GetProject(GetProjectRequest(name="projects/cells"))
        assert (await refusal(call))[0] is grpc.StatusCode.NOT_FOUND
    async with access.bearer(made.secret) as alice:
        assert not (await alice.WhoAmI(WhoAmIRequest())).grants


async def test_late_news_of_a_project_that_is_gone_counts_no_more(access: Access) -> None:
    from bloomery.access.v1 import ForgetProjectRequest

    await access.project("cells", "first", "alice")
    await access.service.ForgetProject(ForgetProjectRequest(uid="first"))
    await access.project("cells", "second", "bob")
    await access.project("cells", "first", "alice")
    (member,) = (await access.owner.ListMembers(ListMembersRequest(parent="projects/cells"))).members
    assert member.subject == "bob"
