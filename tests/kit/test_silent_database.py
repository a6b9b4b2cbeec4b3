"""A database that vanishes without a word, and one whose server says no at the door."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable
from tests.kit.proxy import SilentProxy, silent_proxy

PATIENCE = 0.3
# Closing a connection politely takes the driver two seconds where nobody answers.
SOON = 4.0


@pytest.fixture
async def way(postgres_url: str) -> AsyncIterator[tuple[SilentProxy, Database]]:
    """A database behind a proxy, with one connection in its pool."""
    url = sa.make_url(postgres_url)
    assert url.port is not None
    async with silent_proxy(url.port) as (proxy, port):
        db = Database.connect(url.set(port=port).render_as_string(hide_password=False), patience=PATIENCE)
        async with db.write() as tx:
            await tx.exec_driver_sql("CREATE TABLE items (id integer PRIMARY KEY)")
        yield proxy, db
        proxy.speak()
        await db.close()


async def unavailable(work: Callable[[], Awaitable[Any]]) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        async with asyncio.timeout(30):
            await work()
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert time.monotonic() - started < SOON


async def test_a_pooled_connection_that_falls_silent_holds_nobody(way: tuple[SilentProxy, Database]) -> None:
    proxy, db = way
    proxy.fall_silent()
    await unavailable(db.check_ready)
    proxy.speak()
    await db.check_ready()


async def test_silence_in_the_middle_of_a_transaction_takes_it_back(way: tuple[SilentProxy, Database]) -> None:
    proxy, db = way

    async def write() -> None:
        async with db.write() as tx:
            await tx.exec_driver_sql("INSERT INTO items VALUES (1)")
            proxy.fall_silent()
            await tx.exec_driver_sql("INSERT INTO items VALUES (2)")

    await unavailable(write)
    proxy.speak()
    async with db.read() as tx:
        assert await tx.scalar(sa.text("SELECT count(*) FROM items")) == 0


async def test_whoever_waits_no_longer_gets_away_from_a_silent_database(postgres_url: str) -> None:
    url = sa.make_url(postgres_url)
    assert url.port is not None
    async with silent_proxy(url.port) as (proxy, port):
        db = Database.connect(url.set(port=port).render_as_string(hide_password=False), patience=60)
        await db.check_ready()
        proxy.fall_silent()
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await db.check_ready()
        assert time.monotonic() - started < 2 * SOON
        proxy.speak()
        await db.check_ready()
        await db.close()


async def test_a_process_can_leave_a_silent_database(way: tuple[SilentProxy, Database]) -> None:
    proxy, db = way
    async with db.read(), db.read():
        pass
    proxy.fall_silent()
    started = time.monotonic()
    async with asyncio.timeout(20):
        await db.close()
    assert time.monotonic() - started < SOON


async def test_silence_at_the_commit_is_unavailable(way: tuple[SilentProxy, Database]) -> None:
    proxy, db = way

    async def write() -> None:
        async with db.write() as tx:
            await tx.exec_driver_sql("INSERT INTO items VALUES (1)")
            proxy.fall_silent()

    await unavailable(write)


async def test_a_wait_of_the_callers_own_that_ends_is_no_fault_of_the_database(
    way: tuple[SilentProxy, Database],
) -> None:
    _, db = way
    with pytest.raises(TimeoutError):
        async with db.read():
            raise TimeoutError


async def test_a_migration_may_take_longer_than_any_other_statement(way: tuple[SilentProxy, Database]) -> None:
    _, db = way
    await unavailable(lambda: sleep(db))
    async with db.patient() as patient:
        await sleep(patient)


async def sleep(db: Database) -> None:
    async with db.write() as tx:
        await tx.execute(sa.text(f"SELECT pg_sleep({2 * PATIENCE})"))


async def test_the_kernel_gives_up_on_a_peer_that_is_gone(postgres_url: str) -> None:
    db = Database.connect(postgres_url, patience=30)
    async with db.read() as tx:
        raw = await tx.get_raw_connection()
        assert raw.driver_connection is not None
        there = raw.driver_connection._transport.get_extra_info("socket")
        assert there.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        idle, every, times = (
            there.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + every * times <= 30
    await db.close()


async def test_a_statement_that_an_administrator_ends_may_be_repeated(postgres_url: str) -> None:
    db = Database.connect(postgres_url)

    async def cancelled() -> None:
        async with db.read() as tx:
            await tx.exec_driver_sql("SET LOCAL statement_timeout = 20")
            await tx.exec_driver_sql("SELECT pg_sleep(10)")

    await unavailable(cancelled)
    await db.close()


async def test_a_server_that_lets_nobody_in_is_unavailable(postgres_url: str) -> None:
    owner = Database.connect(postgres_url)
    url = sa.make_url(postgres_url)
    guest = f"guest_{url.database}"
    async with owner.write() as tx:
        await tx.exec_driver_sql(f"CREATE ROLE {guest} LOGIN CONNECTION LIMIT 0")
    db = Database.connect(url.set(username=guest).render_as_string(hide_password=False))
    await unavailable(db.check_ready)
    await db.close()
    async with owner.write() as tx:
        await tx.exec_driver_sql(f"DROP ROLE {guest}")
    await owner.close()
