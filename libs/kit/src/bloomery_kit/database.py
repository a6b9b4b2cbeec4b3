"""One database behind two engines: SQLite for one process, PostgreSQL for many.

Readers see one moment of the database; writers are serialised where the engine needs it. Everything that can go wrong
below the SQL arrives as a typed error: Unavailable (repeat later) or ResourceExhausted (no space).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator

from bloomery_kit.errors import BloomeryError, Internal, ResourceExhausted, Unavailable
from bloomery_kit.metrics import DATABASE_SECONDS, timed

Transaction = AsyncConnection
_WRITES = "bloomery_writes"
_MAX_PARAMETERS = 30_000
_BUSY_SECONDS = 30.0
_CLOSE_SECONDS = 10.0


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC, on both engines; a naive one is a ValueError."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times and normalise the zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        """SQLite forgets the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """Connections to one service's tables."""

    def __init__(self, engine: AsyncEngine, schema: str | None, threads: "WeakSet[Thread] | None" = None) -> None:
        self.engine = engine
        self._threads: WeakSet[Thread] = WeakSet() if threads is None else threads
        self._in_use = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.schema = schema
        self._writer = asyncio.Lock()
        self._writing: asyncio.Task[Any] | None = None

    @classmethod
    def connect(
        cls, url: str, schema: str | None = None, *, pool_size: int = 8, idle_seconds: float = 15.0
    ) -> "Database":
        """Describe the database at `url`, an SQLAlchemy URL (`sqlite+aiosqlite:///file`, `postgresql+asyncpg://...`).

        `schema` is the PostgreSQL schema of the service. Nothing connects before the first transaction. A transaction
        that writes and says nothing to PostgreSQL for `idle_seconds` is ended there: a process that was frozen in the
        middle of one must not keep its locks from the other replicas.
        """
        if sa.make_url(url).get_backend_name() == "sqlite":
            threads: WeakSet[Thread] = WeakSet()
            return cls(_sqlite_engine(url, pool_size, threads), None, threads)
        return cls(_postgres_engine(url, schema, pool_size, idle_seconds), schema)

    @property
    def is_sqlite(self) -> bool:
        """Whether one process owns the database."""
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A transaction that only reads, and sees one moment. Raise Unavailable if the database cannot be reached."""
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        async with self._transaction(options) as tx:
            yield tx

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that writes: committed at the end, rolled back by any error, cancellation included.

        On SQLite writers of this process take turns, so a task must not open a second one inside (RuntimeError).
        Raise Unavailable if the database cannot be reached or is locked, ResourceExhausted DISK_FULL without space.
        """
        if not self.is_sqlite:
            async with self._transaction({_WRITES: True}) as tx:
                yield tx
            return
        if self._writing is asyncio.current_task():
            raise RuntimeError("a writing transaction inside another one of the same task")
        async with self._writer:
            self._writing = asyncio.current_task()
            try:
                async with self._transaction({_WRITES: True}) as tx:
                    yield tx
            finally:
                self._writing = None

    async def check_ready(self) -> None:
        """Raise Unavailable unless the database answers."""
        async with self.read() as tx:
            await tx.execute(sa.text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections, once the transactions under way have ended."""
        # The engine would forget a connection that is given back after this, without closing it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._idle.wait()
        await self.engine.dispose()
        # The driver's threads have closed their connections, and yet speak to this event loop until they end.
        for thread in list(self._threads):
            await asyncio.to_thread(thread.join, _CLOSE_SECONDS)

    @asynccontextmanager
    async def _transaction(self, options: Mapping[str, object]) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as stack:
            stack.enter_context(timed(DATABASE_SECONDS, "write" if _WRITES in options else "read"))
            with _typed_errors(connecting=True):
                connection = await stack.enter_async_context(self._connection())
            with _typed_errors():
                await connection.execution_options(**options)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        self._in_use += 1
        self._idle.clear()
        connection = None
        try:
            connection = await self.engine.connect().start()
            yield connection
        finally:
            if connection is None:
                self._gave_back()
            else:
                # In a task of its own, so that whoever is cancelled now gives the connection back all the same.
                closing = asyncio.create_task(connection.close())
                closing.add_done_callback(self._gave_back)
                await asyncio.shield(closing)

    def _gave_back(self, _closing: "asyncio.Task[None] | None" = None) -> None:
        self._in_use -= 1
        if not self._in_use:
            self._idle.set()


async def insert_ignore(
    tx: Transaction, table: sa.TableClause, values: Mapping[str, object] | Sequence[Mapping[str, object]]
) -> int:
    """Insert the rows whose keys are free and return how many were; all rows must have the same columns."""
    rows = [values] if isinstance(values, Mapping) else list(values)
    insert = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    inserted = 0
    step = max(1, _MAX_PARAMETERS // max(1, len(rows[0]))) if rows else 1
    for start in range(0, len(rows), step):
        statement = insert(table).values([dict(row) for row in rows[start : start + step]]).on_conflict_do_nothing()
        inserted += (await tx.execute(statement)).rowcount
    return inserted


async def compare_and_set(
    tx: Transaction, table: sa.TableClause, *where: sa.ColumnElement[bool], values: Mapping[str, object]
) -> bool:
    """Set `values` in the one row that still fulfils `where`; False if there is none any more."""
    result = await tx.execute(sa.update(table).where(*where).values(dict(values)))
    if result.rowcount > 1:
        raise RuntimeError(f"{result.rowcount} rows of {table.name} fulfil a condition that means one")
    return result.rowcount == 1


def _sqlite_engine(url: str, pool_size: int, threads: "WeakSet[Thread]") -> AsyncEngine:
    file = sa.make_url(url).database
    if not file or file == ":memory:":
        raise ValueError("SQLite needs a file: its connections share nothing else")
    if not Path(file).parent.is_dir():
        raise ValueError(f"the folder of {file} does not exist")
    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=3 * pool_size, connect_args={"timeout": _BUSY_SECONDS}
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "connect", lambda made, _: threads.add(made.driver_connection._thread))  # noqa: SLF001
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN is lazy and deferred, which makes two writers fail late; we say BEGIN ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_engine(url: str, schema: str | None, pool_size: int, idle_seconds: float) -> AsyncEngine:
    settings = {"search_path": schema} if schema else {}
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=10.0,
        connect_args={"server_settings": settings, "timeout": 10.0},
    )

    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(_WRITES, False):
            limit = f"SET LOCAL idle_in_transaction_session_timeout = {round(idle_seconds * 1000)}"
            connection.exec_driver_sql(limit)

    event.listen(engine.sync_engine, "begin", begin)
    return engine


# Each SQLSTATE of PostgreSQL stands for itself; SQLite has only its words.
_DISK_FULL = ("53100", "database or disk is full")
_READ_ONLY = ("25006", "readonly database")
_LOCKED = ("55P03", "40001", "40P01", "is locked")
_CORRUPT = ("XX001", "XX002", "malformed", "not a database")
_DOWN = ("08", "25P03", "57P", "53", "unable to open")


@contextmanager
def _typed_errors(*, connecting: bool = False) -> Iterator[None]:
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError) as error:
        translated = _translated(error) or (_unreachable() if connecting else None)
        if translated is None:
            raise
        raise translated from error
    except OSError as error:
        # Drivers let a refused connection through as it is; inside a transaction it comes from the caller's own work.
        if not connecting:
            raise
        raise _unreachable() from error


def _translated(error: Exception) -> BloomeryError | None:
    if isinstance(error, exc.TimeoutError):
        return Unavailable("DATABASE_BUSY", "all connections to the database are in use")
    if not isinstance(error, exc.DBAPIError) or isinstance(error, exc.IntegrityError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    said = str(state or error.orig)

    def is_any(marks: Sequence[str]) -> bool:
        return any(said.startswith(mark) if state else mark in said for mark in marks)

    if is_any(_DISK_FULL):
        return ResourceExhausted("DISK_FULL", "the database has no space left; free some and repeat")
    if is_any(_READ_ONLY):
        return Unavailable("DATABASE_READ_ONLY", "the database takes no writes for now")
    if is_any(_LOCKED):
        return Unavailable("DATABASE_LOCKED", "another transaction was in the way")
    if is_any(_CORRUPT):
        return Internal("the database is damaged; restore it from a backup", reason="DATABASE_CORRUPT")
    return _unreachable() if error.connection_invalidated or is_any(_DOWN) else None


def _unreachable() -> Unavailable:
    return Unavailable("DATABASE_UNAVAILABLE", "the database cannot be reached")
