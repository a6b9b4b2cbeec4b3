"""Every call that may change something is written before its work begins, and told of until somebody has it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from bloomery.access.v1 import AuditEntry
from bloomery.annotation.v1 import (
    Asset,
    BatchCreateAssetsRequest,
    BlobContent,
    CreateProjectRequest,
    UploadBlobsRequest,
)
from bloomery_kit.audit import AuditLog, Delivery, Entry, Outcome, summary
from bloomery_kit.audit._entries import ENTRIES
from bloomery_kit.auth import PRINCIPAL_HEADER, Principal, Role, format_principal, service_token
from bloomery_kit.clients import channel
from bloomery_kit.database import Database
from bloomery_kit.errors import FailedPrecondition, NotFound, Unavailable
from bloomery_kit.permissions import mutates, resource_of
from tests.kit.echo import OWNER, EchoHost, running_host, until


@pytest.fixture
async def log(db: Database) -> AuditLog:
    return AuditLog(db)


@pytest.fixture
async def audited(log: AuditLog) -> AsyncIterator[EchoHost]:
    async with running_host(audit=log) as host:
        yield host


async def rows(db: Database) -> Sequence[Any]:
    async with db.read() as tx:
        return (await tx.execute(sa.select(ENTRIES).order_by(ENTRIES.c.time))).all()


def entry(uid: str, **changed: str) -> Entry:
    texts = dict.fromkeys(Entry.__dataclass_fields__, "")
    return Entry(**texts | {"uid": uid, "subject": "anna"} | changed)


async def test_a_call_is_written_before_its_work_begins(audited: EchoHost, log: AuditLog) -> None:
    async def look(_text: str) -> str:
        [row] = await rows(log.db)
        return f"{row.subject} {row.code or 'open'}"

    audited.servicer.answer = look
    assert await audited.ask("", "Train") == "owner open"
    await log.flush()
    [row] = await rows(log.db)
    assert row.code == "OK"
    assert row.method == "/bloomery.kittest.v1.EchoService/Train"
    assert row.address.startswith("ipv4:127.0.0.1:")
    assert json.loads(row.summary) == {}


async def test_a_failed_call_keeps_its_code_and_reason(audited: EchoHost, log: AuditLog) -> None:
    async def fail(_text: str) -> str:
        raise FailedPrecondition("STILL_REFERENCED", "no", [])

    audited.servicer.answer = fail
    await audited.fail(method="Train")
    await log.flush()
    [row] = await rows(log.db)
    assert (row.code, row.reason) == ("FAILED_PRECONDITION", "STILL_REFERENCED")


@asynccontextmanager
async def out_of_reach(db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    @asynccontextmanager
    async def fail(**_options: object) -> AsyncIterator[Any]:
        for trouble in [Unavailable("DATABASE_UNAVAILABLE", "away")]:
            raise trouble
        yield

    with monkeypatch.context() as patch:
        patch.setattr(db, "write", fail)
        yield


async def test_nothing_is_done_that_cannot_be_written(
    audited: EchoHost, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    async def work(text: str) -> str:
        done.append(text)
        return ""

    audited.servicer.answer = work
    async with out_of_reach(log.db, monkeypatch):
        assert (await audited.fail(method="Train")).code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert not done
    assert not await rows(log.db)


async def test_an_outcome_waits_for_the_database(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    await log.begin(entry("a"))
    log.end(Outcome("a", "OK"))
    async with out_of_reach(log.db, monkeypatch):
        with pytest.raises(Unavailable):
            await log.flush()
    await log.flush()
    assert [row.code for row in await rows(log.db)] == ["OK"]


async def test_calls_at_the_same_time_share_a_transaction(log: AuditLog) -> None:
    writes = log.db.write
    count = 0

    def counted(**options: bool) -> Any:
        nonlocal count
        count += 1
        return writes(**options)

    log.db.write = counted  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(log.begin(entry(f"e{number}")))
    assert len(await rows(log.db)) == 50
    assert count <= 3


async def test_whoever_gives_up_leaves_the_others_written(log: AuditLog) -> None:
    async with log._turn:
        calls = [asyncio.create_task(log.begin(entry(f"e{number}"))) for number in range(3)]
        await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.sleep(0)
    await asyncio.wait(calls)
    assert [call.cancelled() for call in calls] == [False, True, False]
    assert {row.uid for row in await rows(log.db)} == {"e0", "e2"}


async def test_one_who_writes_for_all_and_is_cancelled_fails_nobody_else(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, first = log.db.write, [True]

    @asynccontextmanager
    async def hang_once(**options: bool) -> AsyncIterator[Any]:
        if first.pop() if first else False:
            await asyncio.sleep(60)
        async with write(**options) as tx:
            yield tx

    monkeypatch.setattr(log.db, "write", hang_once)
    calls = [asyncio.create_task(log.begin(entry(f"e{number}"))) for number in range(3)]
    await until(lambda: not first)
    calls[0].cancel()
    with suppress(asyncio.CancelledError):
        await calls[0]
    await asyncio.gather(*calls[1:])
    assert {"e1", "e2"} <= {row.uid for row in await rows(log.db)}


async def test_what_reads_is_not_written(audited: EchoHost, log: AuditLog) -> None:
    assert await audited.ask("a", "Read") == "heard a"
    await log.flush()
    assert not await rows(log.db)


async def test_calls_without_the_right_credentials_are_written_until_too_many_come(
    audited: EchoHost, log: AuditLog
) -> None:
    log._bucket.clock = lambda: log._bucket.since
    log._bucket.left = 2
    async with channel(audited.address) as anonymous, channel(audited.address, token="viewer-token") as viewer:
        await audited.fail(method="Train", on=viewer)
        for _ in range(5):
            await audited.fail(method="Train", on=anonymous)
    await log.flush()
    assert [(row.subject, row.code) for row in await rows(log.db)] == [
        ("vera", "PERMISSION_DENIED"),
        ("", "UNAUTHENTICATED"),
    ]


async def test_what_a_service_does_for_a_person_is_written_where_the_person_came_in(
    audited: EchoHost, log: AuditLog
) -> None:
    vera = ((PRINCIPAL_HEADER, format_principal(Principal("vera", Role.TRAINER))),)
    async with channel(audited.address, token=service_token(OWNER)) as service:
        await audited.unary("Train", on=service)(_text(), metadata=vera)

        async def fail(_text: str) -> str:
            raise NotFound("job", "projects/p/jobs/j", "list the jobs")

        audited.servicer.answer = fail
        with pytest.raises(grpc.aio.AioRpcError):
            await audited.unary("Train", on=service)(_text(), metadata=vera)
    await log.flush()
    assert not await rows(log.db)


async def test_nobody_hides_behind_the_name_of_another(audited: EchoHost, log: AuditLog) -> None:
    vera = ((PRINCIPAL_HEADER, format_principal(Principal("vera", Role.TRAINER))),)
    await audited.unary("Train")(_text(), metadata=vera)
    assert [row.subject for row in await rows(log.db)] == ["owner"]


def _text() -> Any:
    from google.protobuf.wrappers_pb2 import StringValue

    return StringValue(value="x")


async def test_texts_that_databases_refuse_are_written_all_the_same(log: AuditLog) -> None:
    await log.begin(entry("a", resource="projects/\0", forwarded_for="x" * 5000, summary="s" * 4096))
    [row] = await rows(log.db)
    assert "\0" not in row.resource
    assert len(row.forwarded_for) < 5000
    assert len(row.summary) == 4096


class Taker:
    """The access service as a delivery sees it, which may be away."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.away = False

    async def __call__(self, entries: Sequence[AuditEntry]) -> None:
        if self.away:
            raise Unavailable("UNREACHABLE", "away")
        self.taken += [(one.uid, one.code) for one in entries]


async def test_entries_are_told_oldest_first_and_removed_once_they_are_taken(log: AuditLog) -> None:
    taker = Taker()
    delivery = Delivery("kittest", log, taker)
    for uid in ("b", "a", "c"):
        await log.begin(entry(uid))
        log.end(Outcome(uid, "OK"))
    taker.away = True
    with pytest.raises(Unavailable):
        await delivery.run()
    assert len(await rows(log.db)) == 3
    taker.away = False
    await delivery.run()
    await delivery.run()
    assert taker.taken == [("b", "OK"), ("a", "OK"), ("c", "OK")]
    assert not await rows(log.db)


async def test_a_call_that_was_cut_off_is_told_once_without_an_outcome(log: AuditLog) -> None:
    taker = Taker()
    await log.begin(entry("cut"))
    after_the_crash = Delivery("kittest", AuditLog(log.db), taker)
    await after_the_crash.run()
    await after_the_crash.run()
    assert taker.taken == [("cut", "")]


async def test_a_call_that_goes_on_is_told_again_with_its_outcome(log: AuditLog) -> None:
    taker = Taker()
    delivery = Delivery("kittest", log, taker)
    await log.begin(entry("slow"))
    await delivery.run()
    log.end(Outcome("slow", "OK", resource="projects/p/jobs/j"))
    await delivery.run()
    assert taker.taken == [("slow", ""), ("slow", "OK")]
    assert not await rows(log.db)


async def test_an_outcome_that_comes_while_the_entry_is_told_is_told_too(log: AuditLog) -> None:
    taken: list[str] = []

    async def end_meanwhile(entries: Sequence[AuditEntry]) -> None:
        taken.extend(one.code for one in entries)
        if entries and not entries[0].code:
            log.end(Outcome("a", "OK"))
            await log.flush()

    await log.begin(entry("a"))
    delivery = Delivery("kittest", log, end_meanwhile)
    await delivery.run()
    await delivery.run()
    assert taken == ["", "OK"]
    assert not await rows(log.db)


async def test_two_replicas_tell_everything_between_them(log: AuditLog) -> None:
    taker = Taker()
    for number in range(5):
        await log.begin(entry(f"e{number}"))
        log.end(Outcome(f"e{number}", "OK"))
    await log.flush()
    await asyncio.gather(*(Delivery("kittest", AuditLog(log.db), taker).run() for _ in range(2)))
    assert {uid for uid, _ in taker.taken} == {f"e{number}" for number in range(5)}
    assert not await rows(log.db)


def test_a_summary_holds_no_contents_and_no_more_than_its_limit() -> None:
    blobs = [BlobContent(digest=f"sha256:{number:064}", content=b"secret" * 100) for number in range(500)]
    text = summary(UploadBlobsRequest(parent="projects/p", blobs=blobs))
    assert json.loads(text)["blobs"][0]["content"] == "600 bytes"
    assert json.loads(text)["blobs"][-1] == "497 more"
    assert "secret" not in text
    huge = [Asset(display_name="ä" * 900, labels={f"k{k}": "v" * 900 for k in range(99)}) for _ in range(999)]
    text = summary(BatchCreateAssetsRequest(parent="projects/p", assets=huge))
    assert len(text.encode()) <= 4096
    json.loads(text)


def test_the_resource_is_what_the_contract_says() -> None:
    service = "/bloomery.annotation.v1.AnnotationService"
    assert resource_of(f"{service}/UploadBlobs", UploadBlobsRequest(parent="projects/p")) == "projects/p"
    assert resource_of(f"{service}/CreateProject", CreateProjectRequest(project_id="p")) == ""
    assert mutates(f"{service}/CreateProject")
    assert not mutates(f"{service}/GetProject")
    assert not mutates(f"{service}/AcquireReference")
    assert not mutates("/nobody.Knows/It")
