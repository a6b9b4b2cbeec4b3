"""What is left of a database's connections when they are closed or given up."""

import asyncio
import gc
import sqlite3
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery_kit import database, engines, sqlite_driver
from bloomery_kit.database import Database


async def test_closing_waits_for_connections_that_were_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine it counts for as long as nobody waits otherwise.
    monkeypatch.setattr(database, "_CLOSE_SECONDS", 50.0)
    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path}/cancelled.db")
    counting = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT max(x) FROM n"

    async def count() -> None:
        async with db.read() as tx:
            await tx.execute(sa.text(counting))

    before = set(threading.enumerate())
    task = asyncio.create_task(count())
    await asyncio.sleep(0.2)
    for _ in range(2):
        # The first lets the driver finish in peace, the second does not.
        task.cancel()
        await asyncio.sleep(0.01)
    await asyncio.gather(task, return_exceptions=True)
    await db.close()
    left = [thread for thread in set(threading.enumerate()) - before if "_connection_worker_thread" in thread.name]
    assert not left


@pytest.mark.parametrize("at", ["opening", "preparing"])
async def test_closing_waits_for_connections_whose_making_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path}/cancelled.db")
    before, begun = set(threading.enumerate()), threading.Event()
    connect = sqlite3.connect

    class Slow(engines._Connection):
        def cursor(self, *given: Any) -> Any:
            begun.set()
            time.sleep(0.1)
            return super().cursor(*given)

    def connect_slowly(*given: Any, **named: Any) -> Any:
        if at == "opening":
            begun.set()
            time.sleep(0.1)
            return connect(*given, **named)
        return connect(*given, **named | {"factory": Slow})

    monkeypatch.setattr(sqlite3, "connect", connect_slowly)
    task = asyncio.create_task(db.check_ready())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await db.close()
    left = [thread for thread in set(threading.enumerate()) - before if "_connection_worker_thread" in thread.name]
    assert not left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del task, db
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


async def test_closing_waits_for_transactions_under_way(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path}/open.db")
    begun, release = asyncio.Event(), asyncio.Event()

    async def use(db: Database) -> None:
        async with db.read():
            begun.set()
            await release.wait()

    using = asyncio.create_task(use(db))
    await begun.wait()
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    release.set()
    await asyncio.gather(using, closing)
    # A connection that nobody closed warns when it is collected.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del using, closing, db
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


@pytest.mark.parametrize("way", ["closed", "stopped", "stopped, then closed"])
async def test_a_connection_that_is_given_up_in_the_middle_gives_its_lock_back(tmp_path: Path, way: str) -> None:
    """As one is whose caller is cancelled, while a traceback still refers to what it was reading."""
    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
    async with db.write() as tx:
        await tx.execute(sa.text("CREATE TABLE t (a INTEGER)"))
        await tx.execute(sa.text("INSERT INTO t VALUES (1), (2)"))
    async with db.engine.connect() as given_up:
        driver = (await given_up.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("BEGIN IMMEDIATE")
        await driver.execute("INSERT INTO t VALUES (3)")
        half_read = await driver.execute("SELECT a FROM t")
        await half_read.fetchone()
        async with asyncio.timeout(20):
            if way != "closed":
                driver.stop()
            if way != "stopped":
                with suppress(ValueError):
                    await driver.close()
        await given_up.invalidate()
    async with asyncio.timeout(20), db.write() as tx:
        assert await tx.scalar(sa.text("SELECT count(*) FROM t")) == 2
    del half_read
    await db.close()


async def test_a_caller_cancelled_while_a_connection_is_prepared_leaves_none_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(_connection: object, _level: object) -> None:
        raise asyncio.CancelledError

    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
    monkeypatch.setattr(sqlite_driver._Connection, "isolation_level", property(fset=cancelled))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(asyncio.CancelledError):
            async with db.write():
                pass
        await db.close()
        gc.collect()
    assert not [str(warning.message) for warning in caught]
