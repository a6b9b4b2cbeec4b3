import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import sqlalchemy as sa

from bloomery_kit.database import Database, UtcDateTime, compare_and_set, insert_all, insert_ignore, insert_missing
from bloomery_kit.errors import Internal, ResourceExhausted, Unavailable

METADATA = sa.MetaData()
PARENTS = sa.Table("parents", METADATA, sa.Column("id", sa.Integer, primary_key=True))
ITEMS = sa.Table(
    "items",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("state", sa.String, nullable=False, default="NEW"),
    sa.Column("parent", sa.ForeignKey("parents.id")),
    sa.Column("at", UtcDateTime),
    sa.Column("extra", sa.JSON),
    sa.Column("blob", sa.LargeBinary),
)


@pytest.fixture(autouse=True)
async def _tables(db: Database) -> None:
    async with db.write() as tx:
        await tx.run_sync(METADATA.create_all)


async def ids(db: Database) -> list[int]:
    async with db.read() as tx:
        return list(await tx.scalars(sa.select(ITEMS.c.id).order_by(ITEMS.c.id)))


async def insert(db: Database, values: Mapping[str, object], *, before: str = "") -> None:
    """Insert a row, after the statement `before` in the same transaction."""
    async with db.write() as tx:
        if before:
            await tx.exec_driver_sql(before)
        await tx.execute(sa.insert(ITEMS).values(values))


async def test_what_is_written_is_read(db: Database) -> None:
    at = datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with db.write() as tx:
        await tx.execute(sa.insert(ITEMS).values(id=1, at=at, extra={"a": [1, None]}, blob=b"\0\xff"))
    async with db.read() as tx:
        row = (await tx.execute(sa.select(ITEMS))).one()
    assert (row.at, row.extra, row.blob) == (at, {"a": [1, None]}, b"\0\xff")
    assert row.at.tzinfo is UTC or row.at.utcoffset() == timedelta(0)


async def test_a_time_without_a_zone_is_refused(db: Database) -> None:
    with pytest.raises(sa.exc.StatementError, match="without a zone"):
        await insert(db, {"id": 1, "at": datetime(2026, 5, 1)})  # noqa: DTZ001 - the point


async def test_an_error_takes_everything_back(db: Database) -> None:
    async def write() -> None:
        async with db.write() as tx:
            await tx.execute(sa.insert(ITEMS).values(id=1))
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    assert await ids(db) == []


async def test_a_cancelled_writer_takes_everything_back_and_lets_the_next_one_in(db: Database) -> None:
    written = asyncio.Event()

    async def write() -> None:
        async with db.write() as tx:
            await tx.execute(sa.insert(ITEMS).values(id=1))
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with db.write() as tx:
        await tx.execute(sa.insert(ITEMS).values(id=2))
    assert await ids(db) == [2]


async def test_a_writer_cancelled_inside_a_statement_leaves_the_database_usable(db: Database) -> None:
    async def write(number: int) -> None:
        async with db.write() as tx:
            for step in range(50):
                await tx.execute(sa.insert(ITEMS).values(id=number * 100 + step))

    for number in range(10):
        task = asyncio.create_task(write(number))
        await asyncio.sleep(0.002 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await write(99)
    found = await ids(db)
    assert found[-50:] == [*range(9900, 9950)]
    assert len(found) % 50 == 0


async def test_many_writers_and_readers_at_once_all_succeed(db: Database) -> None:
    async def write(number: int) -> None:
        async with db.write() as tx:
            await tx.execute(sa.insert(ITEMS).values(id=number))

    await asyncio.gather(*(write(number) for number in range(60)), *(ids(db) for _ in range(60)))
    assert await ids(db) == [*range(60)]


async def test_a_reader_sees_one_moment(db: Database) -> None:
    async with db.read() as reading:
        before: Sequence[int] = (await reading.scalars(sa.select(ITEMS.c.id))).all()
        async with db.write() as tx:
            await tx.execute(sa.insert(ITEMS).values(id=1))
        after: Sequence[int] = (await reading.scalars(sa.select(ITEMS.c.id))).all()
    assert before == after == []
    assert await ids(db) == [1]


async def test_integrity_errors_are_the_callers_to_handle(db: Database) -> None:
    await insert(db, {"id": 1})
    for values in {"id": 1}, {"id": 2, "parent": 7}:
        with pytest.raises(sa.exc.IntegrityError):
            await insert(db, values)


async def test_only_rows_whose_keys_are_free_are_inserted(db: Database) -> None:
    async with db.write() as tx:
        assert await insert_ignore(tx, ITEMS, {"id": 1, "state": "OLD"})
        assert not await insert_ignore(tx, ITEMS, {"id": 1, "state": "NEW"})
        await insert_missing(tx, ITEMS, [])
        await insert_missing(tx, ITEMS, [{"id": number, "state": "x"} for number in range(40_000)])
        assert await tx.scalar(sa.select(sa.func.count()).select_from(ITEMS)) == 40_000
        assert await tx.scalar(sa.select(ITEMS.c.state).where(ITEMS.c.id == 1)) == "OLD"


async def test_each_of_many_rows_gets_its_own_values(db: Database) -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    times = [at, at, None, None, at, at + timedelta(microseconds=1)]
    extras = [{}, {}, {"a": 1}, [None], {"a": 2}, {}]
    rows = [
        {"id": number, "state": str(number), "at": time, "extra": extra, "blob": bytes([number])}
        for number, (time, extra) in enumerate(zip(times, extras, strict=True))
    ]
    async with db.write() as tx:
        await insert_all(tx, ITEMS, [])
        await insert_all(tx, ITEMS, rows)
        found = (await tx.execute(sa.select(ITEMS).order_by(ITEMS.c.id))).mappings()
        assert [dict(row) for row in found] == [row | {"parent": None} for row in rows]


@pytest.mark.parametrize("count", [499, 500, 1203])
async def test_rows_that_fill_several_statements_keep_their_values(db: Database, count: int) -> None:
    async with db.write() as tx:
        await insert_all(tx, ITEMS, [{"id": number, "state": f"({number}, ?)"} for number in range(count)])
        found = await tx.execute(sa.select(ITEMS.c.id, ITEMS.c.state).order_by(ITEMS.c.id))
        assert [tuple(row) for row in found] == [(number, f"({number}, ?)") for number in range(count)]


async def test_many_rows_are_refused_for_one_of_them(db: Database) -> None:
    async with db.write() as tx:
        await insert_all(tx, ITEMS, [{"id": 1, "state": "x"}])
    with pytest.raises(sa.exc.IntegrityError):
        async with db.write() as tx:
            await insert_all(tx, ITEMS, [{"id": number, "state": "y"} for number in (3, 2, 1)])
    assert await ids(db) == [1]


async def test_compare_and_set_changes_a_row_only_from_the_expected_state(db: Database) -> None:
    async with db.write() as tx:
        await tx.execute(sa.insert(ITEMS).values([{"id": 1}, {"id": 2}]))

        async def move(old: str, new: str) -> bool:
            return await compare_and_set(tx, ITEMS, ITEMS.c.id == 1, ITEMS.c.state == old, values={"state": new})

        assert await move("NEW", "RUNNING")
        assert not await move("NEW", "CANCELLED")
        with pytest.raises(RuntimeError, match="2 rows"):
            await compare_and_set(tx, ITEMS, ITEMS.c.id > 0, values={"state": "x"})


async def test_of_two_who_compare_and_set_at_once_one_wins(db: Database) -> None:
    async with db.write() as tx:
        await tx.execute(sa.insert(ITEMS).values(id=1))

    async def take(name: str) -> bool:
        async with db.write() as tx:
            won = await compare_and_set(tx, ITEMS, ITEMS.c.state == "NEW", values={"state": name})
            await asyncio.sleep(0.01)
            return won

    assert sorted(await asyncio.gather(*(take(str(number)) for number in range(5)))) == [False] * 4 + [True]


async def test_a_database_that_answers_is_ready(db: Database) -> None:
    await db.check_ready()


@pytest.mark.parametrize(
    "url",
    ["postgresql+asyncpg://nobody@127.0.0.1:1/none", "sqlite+aiosqlite:////proc/nowhere.db"],
    ids=["refused", "file"],
)
async def test_a_database_out_of_reach_is_unavailable(url: str) -> None:
    unreachable = Database.connect(url)
    with pytest.raises(Unavailable) as caught:
        await unreachable.check_ready()
    assert caught.value.retry_after is not None
    await unreachable.close()


class TestSqlite:
    @pytest.fixture(params=["sqlite"])
    def database_url(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        return f"sqlite+aiosqlite:///{tmp_path}/kit.db"

    async def test_commits_are_durable_and_keys_are_checked(self, db: Database) -> None:
        async with db.read() as tx:
            pragmas = [
                (await tx.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert pragmas == ["wal", 2, 1]

    async def test_writers_have_a_connection_whose_pages_are_in_memory(self, db: Database) -> None:
        seen = []
        for _ in range(3):
            async with db.write() as tx, db.read() as other:
                assert (await tx.exec_driver_sql("PRAGMA cache_size")).scalar_one() == -(32 << 10)
                assert (await other.exec_driver_sql("PRAGMA cache_size")).scalar_one() == -(2 << 10)
                seen.append((await tx.get_raw_connection()).driver_connection)
        assert len(set(map(id, seen))) == 1

    async def test_a_full_disk_is_told_apart_and_passes(self, db: Database) -> None:
        async with db.read() as tx:
            pages = (await tx.exec_driver_sql("PRAGMA page_count")).scalar_one()
        with pytest.raises(ResourceExhausted) as caught:
            await insert(db, {"id": 1, "blob": bytes(100_000)}, before=f"PRAGMA max_page_count = {pages}")
        assert caught.value.reason == "DISK_FULL"
        await insert(db, {"id": 1, "blob": bytes(100_000)}, before="PRAGMA max_page_count = 1000000")
        assert await ids(db) == [1]

    async def test_a_file_locked_by_another_process_is_unavailable(
        self, db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bloomery_kit.engines._BUSY_SECONDS", 0.05)
        impatient = Database.connect(database_url)
        async with db.write():
            with pytest.raises(Unavailable) as caught:
                await insert(impatient, {"id": 1})
        assert caught.value.reason == "DATABASE_LOCKED"
        await impatient.close()

    async def test_a_transaction_costs_few_visits_to_the_drivers_thread(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        visits: list[object] = []
        visit: Any = aiosqlite.Connection._execute

        async def counted(self: aiosqlite.Connection, what: object, *arguments: object) -> object:
            visits.append(what)
            return await visit(self, what, *arguments)

        # A new connection says more.
        await ids(db)
        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        assert await ids(db) == []
        assert len(visits) == 2, "the statement, which begins the transaction, and the end"
        visits.clear()
        await insert(db, {"id": 1})
        assert len(visits) == 3, "the beginning, which takes the lock, the statement, and the end"
        visits.clear()
        async with db.read():
            pass
        assert not visits
        assert await ids(db) == [1]

    async def test_a_damaged_file_is_told_apart(self, db: Database, tmp_path: Path) -> None:
        await db.close()
        (tmp_path / "kit.db").write_bytes(b"no database at all" * 1000)
        with pytest.raises(Internal) as caught:
            await db.check_ready()
        assert caught.value.reason == "DATABASE_CORRUPT"

    async def test_a_transaction_inside_another_one_is_an_error_instead_of_a_deadlock(self, db: Database) -> None:
        with pytest.raises(RuntimeError, match="inside another"):
            async with db.write(), db.write():
                pass

    def test_a_file_needs_its_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="does not exist"):
            Database.connect(f"sqlite+aiosqlite:///{tmp_path}/none/kit.db")


class TestPostgres:
    CUT = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        return postgres_url

    async def test_connections_cut_in_mid_transaction_are_unavailable_and_replaced(self, db: Database) -> None:
        async def write() -> None:
            async with db.write() as tx:
                await tx.execute(sa.insert(ITEMS).values(id=1))
                async with db.write() as other:
                    await other.exec_driver_sql(self.CUT)
                await tx.execute(sa.insert(ITEMS).values(id=2))

        with pytest.raises(Unavailable):
            await write()
        assert await ids(db) == []

    async def test_a_connection_cut_while_nobody_used_it_is_not_noticed(self, db: Database, database_url: str) -> None:
        await insert(db, {"id": 1})
        outside = Database.connect(database_url)
        async with outside.write() as tx:
            await tx.exec_driver_sql(self.CUT)
        await outside.close()
        assert await ids(db) == [1]

    async def test_a_writer_that_falls_silent_does_not_keep_its_locks(self, db: Database, database_url: str) -> None:
        await insert(db, {"id": 1})
        update = sa.update(ITEMS).where(ITEMS.c.id == 1)
        frozen = Database.connect(database_url, idle_seconds=0.2)

        async def freeze() -> None:
            async with frozen.write() as tx:
                await tx.execute(update.values(state="frozen"))
                # It waits for the lock until the silent one has lost it.
                async with db.write() as other:
                    await other.execute(update.values(state="taken"))
                await tx.execute(update.values(state="frozen"))

        with pytest.raises(Unavailable):
            await freeze()
        await frozen.close()
        async with db.read() as tx:
            assert await tx.scalar(sa.select(ITEMS.c.state)) == "taken"

    async def test_of_two_that_block_each_other_one_may_repeat(self, db: Database) -> None:
        for number in (1, 2):
            await insert(db, {"id": number})
        both_hold_one = asyncio.Barrier(2)

        async def lock(first: int, second: int) -> None:
            async with db.write() as tx:
                await tx.execute(sa.update(ITEMS).where(ITEMS.c.id == first).values(state="x"))
                await both_hold_one.wait()
                await tx.execute(sa.update(ITEMS).where(ITEMS.c.id == second).values(state="x"))

        errors = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
        [error] = [error for error in errors if error is not None]
        assert isinstance(error, Unavailable)
        assert error.reason == "DATABASE_LOCKED"

    async def test_a_database_that_takes_no_writes_is_unavailable_for_writing_only(self, db: Database) -> None:
        with pytest.raises(Unavailable) as caught:
            await insert(db, {"id": 1}, before="SET TRANSACTION READ ONLY")
        assert caught.value.reason == "DATABASE_READ_ONLY"
        assert await ids(db) == []


async def test_only_what_is_written_lazily_does_not_wait_for_the_disk(db: Database) -> None:
    chosen = "SELECT source = 'session' FROM pg_settings WHERE name = 'synchronous_commit'"
    asked = "PRAGMA synchronous" if db.is_sqlite else chosen
    found = []
    for lazily in (False, True, False):
        async with db.write(lazily=lazily) as tx:
            found.append(await tx.scalar(sa.text(asked)))
    assert found == ([2, 1, 2] if db.is_sqlite else [False, True, False])
