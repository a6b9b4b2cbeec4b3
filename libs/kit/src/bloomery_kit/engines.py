"""The two engines: how each connects, what each connection is told, and when a driver's silence is an error."""

import asyncio
import socket
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite
import asyncpg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bloomery_kit import sqlite_driver
from bloomery_kit.connections import measure_connections
from bloomery_kit.database_errors import unreachable
from bloomery_kit.errors import Unavailable

Passwords = Callable[[], Sequence[str]]
WRITES = "bloomery_writes"
"""The execution option of a transaction that writes."""
LAZY = "bloomery_lazy"
"""That of one that need not be on the disk before it ends."""
_BUSY_SECONDS = 30.0
_WRITER_CACHE_KIB = 32 << 10
_READER_CACHE_KIB = 2 << 10
_CONNECT_SECONDS = 10.0
# The kernel ends a connection to a peer that is gone, whether we wait for it to acknowledge or to answer.
_GONE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 10,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 5,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 30_000,
}


class _Connection(sqlite3.Connection):
    """Gives its locks back when it is closed, also where somebody still refers to a cursor, which keeps it open."""

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()


def sqlite_engine(url: str, pool_size: int, threads: "WeakSet[Thread]", *, writes: bool = False) -> AsyncEngine:
    """An engine on the file that `url` names; `threads` gets the driver's threads.

    One that `writes` remembers more of the file: a batch touches many pages of the indexes of a large table.
    """
    file = sa.make_url(url).database
    if not file or file == ":memory:":
        raise ValueError("SQLite needs a file: its connections share nothing else")
    if not Path(file).parent.is_dir():
        raise ValueError(f"the folder of {file} does not exist")

    def make(*arguments: Any, **named: Any) -> aiosqlite.Connection:
        made = aiosqlite.connect(*arguments, **named)
        made._thread.daemon = True  # noqa: SLF001 - as the dialect does
        # Before it connects, as it may be cancelled in the middle of that.
        threads.add(made._thread)  # noqa: SLF001
        return made

    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=3 * pool_size,
        connect_args={"timeout": _BUSY_SECONDS, "factory": _Connection, "async_creator_fn": make},
    )
    event.listen(engine.sync_engine, "do_connect", sqlite_driver.connect)
    cache = _WRITER_CACHE_KIB if writes else _READER_CACHE_KIB
    event.listen(engine.sync_engine, "connect", lambda made, _: _prepare_sqlite(made, cache))
    event.listen(engine.sync_engine, "connect", _close_for_certain)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return measure_connections(engine, 4 * pool_size)


def _prepare_sqlite(connection: Any, cache_kib: int) -> None:
    # The driver's own BEGIN is lazy and deferred, which makes two writers fail late; we say BEGIN ourselves.
    connection.isolation_level = None
    with closing(connection.cursor()) as cursor:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"cache_size=-{cache_kib}"):
            cursor.execute(f"PRAGMA {pragma}")


def _close_for_certain(made: Any, _record: object) -> None:
    """Let a connection be closed however it is given up.

    Of a call cancelled twice the driver first stops its thread and then begins to close. By that it forgets what
    the thread should have closed, which keeps its locks, and waits for a thread that has ended.
    """
    driver = made.driver_connection
    file, stop = driver._connection, driver.stop  # noqa: SLF001 - the driver has no other way to it

    def stop_once() -> "asyncio.Future[None] | None":
        driver.stop = lambda: None
        driver._tx.put_nowait((None, file.close))  # noqa: SLF001
        stopping: asyncio.Future[None] | None = stop()
        return stopping

    driver.stop = stop_once


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get(WRITES, False):
        wanted = "NORMAL" if options.get(LAZY, False) else "FULL"
        if connection.info.get("synchronous", "FULL") != wanted:
            connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
            connection.info["synchronous"] = wanted
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        made: Any = connection.connection.dbapi_connection
        made.begin_with_next()


def postgres_engine(
    url: str | sa.URL,
    schema: str | None,
    pool_size: int = 1,
    idle_seconds: float = 60.0,
    patience: float | None = None,
    passwords: Passwords | None = None,
) -> AsyncEngine:
    """An engine on `schema`; a writer's silence and the server's are borne for so many seconds each.

    Of `passwords`, where there are any, the first that the server takes is used.
    """
    settings = {"search_path": schema} if schema else {}
    given = {} if passwords is None else {"async_creator_fn": partial(_connect, passwords)}
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10.0,
        connect_args={"server_settings": settings, "timeout": _CONNECT_SECONDS, "command_timeout": patience, **given},
    )

    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(WRITES, False):
            limit = f"SET LOCAL idle_in_transaction_session_timeout = {round(idle_seconds * 1000)}"
            connection.exec_driver_sql(limit)
            if connection.get_execution_options().get(LAZY, False):
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")

    event.listen(engine.sync_engine, "begin", begin)
    event.listen(engine.sync_engine, "connect", _mind_the_peer)
    event.listen(engine.sync_engine, "handle_error", _give_up_the_silent)
    return measure_connections(engine, 2 * pool_size)


async def _connect(passwords: Passwords, **about: Any) -> Any:
    for password in passwords():
        with suppress(asyncpg.InvalidPasswordError):
            return await asyncpg.connect(**{**about, "password": password})
    raise Unavailable("DATABASE_UNAVAILABLE", "the database takes none of the passwords that are known")


def _mind_the_peer(made: Any, _record: object) -> None:
    peer = made.driver_connection._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg takes no socket options
    if peer.family != socket.AF_UNIX:
        for (level, option), value in _GONE.items():
            peer.setsockopt(level, option, value)


def _give_up_the_silent(context: sa.ExceptionContext) -> None:
    # Told apart here, as outside a wait of the caller's own ends with the same exception.
    if isinstance(context.original_exception, TimeoutError):
        context.is_disconnect = True
        raise unreachable() from context.original_exception
