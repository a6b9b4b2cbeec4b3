"""The audit log as admins read it, whatever order its entries come in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import grpc
import pytest

from bloomery.access.v1 import (
    AuditEntry,
    AuditServiceStub,
    IssueTokenRequest,
    ListAuditEntriesRequest,
    RecordAuditEntriesRequest,
)
from bloomery_access.housekeeping import Housekeeper
from bloomery_kit.auth import Role, service_token
from bloomery_kit.clients import channel
from tests.access.helpers import OWNER, Access, refusal

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def entry(uid: str, seconds: int = 0, **fields: str) -> AuditEntry:
    made = AuditEntry(uid=uid, **{"subject": "anna", "method": "/s.S/Do", "code": "OK", **fields})  # type: ignore[arg-type]
    made.time.FromDatetime(NOW + timedelta(seconds=seconds))
    return made


@pytest.fixture
async def service(access: Access) -> AsyncIterator[Any]:
    async with channel(access.address, token=service_token(OWNER)) as on:
        yield AuditServiceStub(on)


@pytest.fixture
async def owner(access: Access) -> AsyncIterator[Any]:
    async with channel(access.address, token=OWNER) as on:
        yield AuditServiceStub(on)


async def record(service: Any, *entries: AuditEntry) -> None:
    await service.RecordAuditEntries(RecordAuditEntriesRequest(entries=entries))


async def listed(stub: Any, parent: str = "projects/-", **wanted: Any) -> list[str]:
    request = ListAuditEntriesRequest(parent=parent, **wanted)
    return [one.uid for one in (await stub.ListAuditEntries(request)).entries]


async def test_entries_come_newest_first_on_pages_that_miss_none(service: Any, owner: Any) -> None:
    await record(service, *(entry(f"e{number}", seconds=number // 2) for number in range(7)))
    request, found = ListAuditEntriesRequest(parent="projects/-", page_size=2), list[str]()
    while True:
        page = await owner.ListAuditEntries(request)
        found += [one.uid for one in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == ["e6", "e5", "e4", "e3", "e2", "e1", "e0"]


async def test_an_entry_that_comes_again_stays_as_it_is_but_for_its_outcome(service: Any, owner: Any) -> None:
    await record(service, entry("a", code=""))
    assert await listed(owner, outcome="UNFINISHED") == ["a"]
    await record(service, entry("a", code="OK", resource="projects/p/jobs/j"), entry("b", seconds=1))
    await record(service, entry("a", code=""), entry("b", seconds=1, code="INTERNAL", subject="otto"))
    answer = await owner.ListAuditEntries(ListAuditEntriesRequest(parent="projects/-"))
    told = [(one.uid, one.code, one.subject, one.resource) for one in answer.entries]
    assert told == [("b", "OK", "anna", ""), ("a", "OK", "anna", "projects/p/jobs/j")]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"subject": "otto"}, ["c"]),
        ({"method": "CreateJob"}, ["b"]),
        ({"method": "/s.S/CreateJob"}, ["b"]),
        ({"method": "reateJob"}, []),
        ({"method": "%"}, []),
        ({"outcome": "FAILED"}, ["c"]),
        ({"outcome": "PERMISSION_DENIED"}, ["c"]),
        ({"outcome": "OK"}, ["b", "a"]),
        ({"start_time": NOW + timedelta(seconds=1), "end_time": NOW + timedelta(seconds=2)}, ["b"]),
        ({"parent": "projects/p"}, ["b"]),
    ],
)
async def test_filters_narrow_the_list(service: Any, owner: Any, wanted: dict[str, Any], found: list[str]) -> None:
    await record(
        service,
        entry("a"),
        entry("b", seconds=1, method="/s.S/CreateJob", project="projects/p"),
        entry("c", seconds=2, subject="otto", code="PERMISSION_DENIED"),
    )
    assert await listed(owner, **wanted) == found


async def test_admins_see_their_project_and_nobody_else_any(access: Access, service: Any) -> None:
    for project in ("p", "q"):
        await access.project(project)
        await record(service, entry(project, project=f"projects/{project}"))
    await access.member("anna", Role.ADMIN, "p")
    await access.member("vera", Role.TRAINER, "p")
    async with channel(access.address, token=await access.token("anna")) as on:
        anna: Any = AuditServiceStub(on)
        assert await listed(anna, "projects/p", subject="anna") == ["p"]
        assert (await refusal(listed(anna, "projects/q")))[0] is grpc.StatusCode.NOT_FOUND
        assert (await refusal(listed(anna, "projects/-")))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await refusal(record(anna, entry("x"))))[0] is grpc.StatusCode.PERMISSION_DENIED
    async with channel(access.address, token=await access.token("vera")) as on:
        vera: Any = AuditServiceStub(on)
        assert (await refusal(listed(vera, "projects/p")))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("outcome", ["OK", "CANCELLED", ""])
async def test_admins_do_not_see_what_was_done_in_an_earlier_project_of_the_name(
    access: Access, service: Any, owner: Any, outcome: str
) -> None:
    deletion = "/bloomery.annotation.v1.AnnotationService/DeleteProject"
    await access.project("p")
    await access.member("anna", Role.ADMIN, "p")
    await record(
        service,
        entry("former", project="projects/p"),
        entry("end", seconds=1, project="projects/p", method=deletion, code=outcome),
        entry("present", seconds=2, project="projects/p"),
    )
    async with channel(access.address, token=await access.token("anna")) as on:
        assert await listed(AuditServiceStub(on), "projects/p", subject="anna") == ["present"]
    assert await listed(owner, "projects/p", subject="anna") == ["present", "end", "former"]


async def test_a_deletion_that_failed_hides_nothing_from_the_admins_of_the_project(
    access: Access, service: Any
) -> None:
    annotation = "/bloomery.annotation.v1.AnnotationService"
    about_it: Any = {"project": "projects/p", "subject": "anna"}
    await access.project("p", uid="second")
    await access.member("anna", Role.ADMIN, "p")
    await record(
        service,
        entry("former", **about_it),
        entry("made", seconds=1, method=f"{annotation}/CreateProject", project_uid="second", **about_it),
        entry("done", seconds=2, **about_it),
        entry("failed", seconds=3, method=f"{annotation}/DeleteProject", code="UNAVAILABLE", **about_it),
    )
    async with channel(access.address, token=await access.token("anna")) as on:
        assert await listed(AuditServiceStub(on), "projects/p", subject="anna") == ["failed", "done", "made"]


async def test_no_text_that_a_caller_chose_holds_up_the_log(service: Any, owner: Any) -> None:
    # As random as texts are that no index can hold in fewer bytes.
    text = "".join(Random(1).choices([chr(number) for number in range(0x4E00, 0x9FFF)], k=4000))
    await record(service, entry("a", subject=text, project=f"projects/{text}"), entry("b", seconds=1))
    assert await listed(owner) == ["b", "a"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"parent": "projects/NO"},
        {"outcome": "FINE"},
        {"subject": "a\0"},
        {"page_size": -1},
        {"page_token": "x"},
        {"start_time": {"seconds": 1 << 40}},
    ],
)
async def test_what_cannot_be_asked_for_is_refused(owner: Any, wanted: dict[str, Any]) -> None:
    assert (await refusal(listed(owner, **wanted)))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("wrong", [{"uid": ""}, {"uid": "a\0"}, {"summary": "x" * 5000}])
async def test_entries_that_cannot_be_kept_are_refused(service: Any, wrong: dict[str, str]) -> None:
    damaged = entry("a")
    for name, value in wrong.items():
        setattr(damaged, name, value)
    assert (await refusal(record(service, damaged)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refusal(record(service, AuditEntry(uid="a"))))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_people_do_to_access_itself_is_in_the_log(access: Access, owner: Any) -> None:
    secret = await access.token()
    await access.app._delivery.run()
    answer = await owner.ListAuditEntries(ListAuditEntriesRequest(parent="projects/-"))
    assert [(one.method.rpartition("/")[2], one.authentication, one.code) for one in answer.entries] == [
        ("IssueToken", "owner", "OK")
    ]
    assert secret not in str(answer)


async def test_a_token_is_named_by_its_id_and_never_itself(access: Access, owner: Any) -> None:
    await access.member("anna", Role.ADMIN)
    secret = await access.token("anna")
    async with access.bearer(secret) as anna:
        await anna.IssueToken(IssueTokenRequest())
    await access.app._delivery.run()
    answer = await owner.ListAuditEntries(ListAuditEntriesRequest(parent="projects/-", subject="anna"))
    assert [one.authentication for one in answer.entries] == [f"token:{secret.split('_')[1]}"]
    assert secret.split("_")[2] not in str(answer)


async def test_entries_go_by_their_age(access: Access, service: Any, owner: Any) -> None:
    recent = entry("recent")
    recent.time.FromDatetime(datetime.now(UTC) - timedelta(days=399))
    old = entry("old")
    old.time.FromDatetime(datetime.now(UTC) - timedelta(days=401))
    await record(service, recent, old)
    await Housekeeper(access.app._db, audit_days=400).tidy()
    assert await listed(owner) == ["recent"]
