import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bloomery.annotation.v1 import CreateProjectRequest
from bloomery.annotation.v1.project_pb2 import Project
from bloomery_kit.auth import Principal, Role
from bloomery_kit.context import principal_var
from bloomery_kit.database import Database
from bloomery_kit.errors import InvalidArgument, NotFound
from bloomery_kit.idempotency import Repeatable, forget_answers, forget_requests

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Maker:
    """Makes a new project each time, or fails; remembers how often."""

    def __init__(self, delay: float = 0, error: Exception | None = None) -> None:
        self.made = 0
        self._delay, self._error = delay, error

    async def __call__(self) -> Project:
        if self._error is not None:
            raise self._error
        self.made += 1
        await asyncio.sleep(self._delay)
        return Project(name=f"projects/p{self.made}", labels={"a": "b"})


class Create:
    """A repeatable create, called as somebody."""

    def __init__(
        self,
        db: Database,
        request_id: str = "r",
        *,
        name: str = "p",
        caller: str = "anna",
        parent: str = "",
        now: datetime = NOW,
    ) -> None:
        self._db, self._parent, self._now = db, parent, now
        self._request = CreateProjectRequest(project_id=name, request_id=request_id)
        self._caller = caller

    async def __call__(self, make: Maker) -> Project:
        token = principal_var.set(Principal(self._caller, Role.ADMIN))
        try:
            once: Repeatable[Project] = Repeatable(
                "CreateProject", self._parent, self._request, clock=lambda: self._now
            )
            if first := await once.first_answer(self._db):
                return first
            async with self._db.write() as tx:
                return await once.once(tx, make)
        finally:
            principal_var.reset(token)


async def test_the_first_answer_is_found_before_anything_is_made(db: Database) -> None:
    make = Maker()
    first = await Create(db)(make)
    assert await Create(db)(make) == first
    assert make.made == 1


async def test_repeats_at_once_make_one(db: Database) -> None:
    make = Maker(delay=0.05)
    answers = await asyncio.gather(*(Create(db)(make) for _ in range(4)))
    assert make.made == 1
    assert all(answer == answers[0] for answer in answers)


async def test_ids_of_other_callers_and_parents_are_other_ids(db: Database) -> None:
    make = Maker()
    await Create(db, caller="anna")(make)
    await Create(db, caller="bert")(make)
    await Create(db, caller="anna", parent="projects/p")(make)
    assert make.made == 3


async def test_a_failure_leaves_the_id_free(db: Database) -> None:
    with pytest.raises(NotFound):
        await Create(db)(Maker(error=NotFound("project", "projects/p")))
    assert (await Create(db)(Maker())).name == "projects/p1"


async def test_forgotten_ids_count_as_new(db: Database) -> None:
    make = Maker()
    young = NOW + timedelta(days=2)
    await Create(db, "old")(make)
    await Create(db, "young", now=young)(make)
    async with db.write() as tx:
        assert await forget_requests(tx, before=NOW + timedelta(days=1)) == 1
    await Create(db, "old")(make)
    await Create(db, "young")(make)
    assert make.made == 3


async def test_ids_are_forgotten_some_at_a_time_the_oldest_first(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_kit.idempotency._FORGOTTEN_AT_ONCE", 2)
    make = Maker()
    for age in (1, 3, 2):
        await Create(db, f"{age} old", now=NOW - timedelta(days=age))(make)
    async with db.write() as tx:
        assert await forget_requests(tx, before=NOW) == 2
    await Create(db, "1 old")(make)
    assert make.made == 3
    async with db.write() as tx:
        assert await forget_requests(tx, before=NOW) == 1


@pytest.mark.parametrize(("request_id", "name"), [("r", "another"), ("x" * 129, "p"), ("a\0", "p")])
async def test_a_bad_id_is_refused_before_anything_is_made(db: Database, request_id: str, name: str) -> None:
    make = Maker()
    await Create(db)(make)
    with pytest.raises(InvalidArgument) as caught:
        await Create(db, request_id, name=name)(make)
    assert [violation.field for violation in caught.value.violations] == ["request_id"]
    assert (caught.value.reason == "REQUEST_ID_REUSED") == (request_id == "r")
    assert make.made == 1


async def test_calls_without_an_id_are_no_repeats(db: Database) -> None:
    make = Maker()
    await Create(db, "")(make)
    await Create(db, "")(make)
    assert make.made == 2


async def test_a_parent_that_no_database_takes_was_never_answered_about(db: Database) -> None:
    request = CreateProjectRequest(request_id="r")
    asked: Repeatable[Project] = Repeatable("CreateLabel", "projects/\0", request)
    assert await asked.first_answer(db) is None


async def test_answers_about_a_deleted_parent_are_forgotten_and_no_others(db: Database) -> None:
    parents = ("projects/p", "projects/p-p", "projects/p/labels/p")
    repeats: list[Repeatable[Project]] = [
        Repeatable("Create", parent, CreateProjectRequest(request_id="r")) for parent in parents
    ]
    make = Maker()
    for repeat in repeats:
        async with db.write() as tx:
            await repeat.once(tx, make)
    async with db.write() as tx:
        await forget_answers(tx, "projects/p")
    assert [await repeat.first_answer(db) is None for repeat in repeats] == [True, False, False]
