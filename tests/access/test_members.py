"""Members of projects and of the installation."""

from typing import Any, cast

import grpc
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bloomery.access.v1 import ForgetProjectRequest, ListMembersRequest, RemoveMemberRequest, SetMemberRequest
from bloomery_access import membership
from bloomery_access.store.tables import METADATA
from bloomery_kit.auth import Role
from tests.access.helpers import Access, refusal

LAST = (grpc.StatusCode.FAILED_PRECONDITION, "LAST_ADMIN")
CELLS = "projects/cells"


def wish(subject: str, role: Role, parent: str = CELLS) -> SetMemberRequest:
    return SetMemberRequest(parent=parent, subject=subject, role=cast("Any", role.value))


async def subjects(access: Access, parent: str = CELLS) -> list[tuple[str, Role]]:
    found = (await access.owner.ListMembers(ListMembersRequest(parent=parent))).members
    return [(member.subject, Role(member.role)) for member in found]


async def test_members_are_listed_in_pages_by_subject(access: Access) -> None:
    await access.project("cells")
    for subject in ("eve", "alice", "Bob", "group:team"):
        await access.member(subject, Role.VIEWER, "cells")
    await access.member("alice", Role.TRAINER, "cells")
    assert [name for name, _ in await subjects(access)] == ["Bob", "alice", "eve", "group:team"]
    first = await access.owner.ListMembers(ListMembersRequest(parent=CELLS, page_size=3))
    rest = ListMembersRequest(parent=CELLS, page_size=3, page_token=first.next_page_token)
    assert [member.subject for member in (await access.owner.ListMembers(rest)).members] == ["group:team"]
    assert dict(await subjects(access))["alice"] is Role.TRAINER


async def test_a_projects_last_admin_stays_unless_an_admin_of_all_takes_the_role(access: Access) -> None:
    await access.project("cells", creator="alice")
    async with access.bearer(await access.token("alice")) as alice:
        assert await refusal(alice.RemoveMember(RemoveMemberRequest(parent=CELLS, subject="alice"))) == LAST
        assert await refusal(alice.SetMember(wish("alice", Role.VIEWER))) == LAST
        await alice.SetMember(wish("bob", Role.ADMIN))
        await alice.RemoveMember(RemoveMemberRequest(parent=CELLS, subject="alice"))
    await access.owner.RemoveMember(RemoveMemberRequest(parent=CELLS, subject="bob"))
    assert await subjects(access) == []


async def test_who_is_an_admin_no_more_does_not_take_the_role_back(access: Access) -> None:
    await access.project("cells", creator="alice")
    async with access.bearer(await access.token("alice")) as alice:
        await alice.SetMember(wish("bob", Role.ADMIN))
        await access.owner.RemoveMember(RemoveMemberRequest(parent=CELLS, subject="alice"))
        # They are remembered as an admin for seconds still.
        assert (await refusal(alice.SetMember(wish("alice", Role.ADMIN))))[0] is grpc.StatusCode.NOT_FOUND
        again = alice.RemoveMember(RemoveMemberRequest(parent=CELLS, subject="bob"))
        assert (await refusal(again))[0] is grpc.StatusCode.NOT_FOUND
    assert await subjects(access) == [("bob", Role.ADMIN)]


async def test_taking_away_a_role_that_nobody_has_is_a_success(access: Access) -> None:
    await access.project("cells")
    await access.owner.RemoveMember(RemoveMemberRequest(parent=CELLS, subject="nobody"))


async def test_members_go_with_their_project(access: Access) -> None:
    await access.project("cells", "first")
    await access.member("alice", Role.ADMIN, "cells")
    await access.service.ForgetProject(ForgetProjectRequest(uid="first"))
    await access.project("cells", "second")
    assert await subjects(access) == []


async def test_an_admin_of_a_project_makes_nobody_a_member_of_all(access: Access) -> None:
    await access.project("cells", creator="alice")
    async with access.bearer(await access.token("alice")) as alice:
        code, _ = await refusal(alice.SetMember(wish("alice", Role.ADMIN, "projects/-")))
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_subject_has_no_more_roles_than_calls_can_carry(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "_PROJECTS", 2)
    for project in ("a", "b", "c"):
        await access.project(project)
    await access.member("alice", Role.VIEWER, "a")
    await access.member("alice", Role.VIEWER, "b")
    await access.member("alice", Role.TRAINER, "b")
    request = wish("alice", Role.VIEWER, "projects/c")
    assert (await refusal(access.owner.SetMember(request)))[1] == "TOO_MANY_PROJECTS"


@pytest.mark.parametrize("subject", ["", " x", "a\0b", "x" * 256, "service", "group:"])
async def test_what_names_nobody_is_refused(access: Access, subject: str) -> None:
    await access.project("cells")
    code, _ = await refusal(access.owner.SetMember(wish(subject, Role.VIEWER)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_migrations_make_the_tables_that_the_code_uses(access: Access) -> None:
    async with access.app._db.read() as tx:
        differences = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), METADATA)
        )
    assert [one for one in differences if "alembic_version" not in str(one)] == []
