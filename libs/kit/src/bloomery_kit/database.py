"""One database behind two engines: SQLite for one process, PostgreSQL for many.

Readers see one moment of the database; writers are serialised where the engine needs it. Everything that can go wrong
below the SQL arrives as a typed error: Unavailable (repeat later) or ResourceExhausted (no space).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from threading import Thread
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeDecorator

from bloomery_kit.database_errors import typed_errors
from bloomery_kit.engines import LAZY, WRITES, Passwords, postgres_engine, sqlite_engine
from bloomery_kit.metrics import DATABASE_SECONDS, timed

Transaction = AsyncConnection
_CLOSE_SECONDS = 10.0
_ROWS_AT_ONCE = 500
"""Rows that SQLite gets with a statement, which takes some hundred kilobytes while it stays prepared."""


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

    def __init__(
        self,
        engine: AsyncEngine,
        schema: str | None,
        threads: "WeakSet[Thread] | None" = None,
        *,
        writing: AsyncEngine | None = None,
        passwords: Passwords | None = None,
    ) -> None:
        self.engine = engine
        self._passwords = passwords
        self._writing_engine = writing or engine
        self._threads: WeakSet[Thread] = WeakSet() if threads is None else threads
        self._in_use = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.schema = schema
        self._writer = asyncio.Lock()
        self._writing: asyncio.Task[Any] | None = None
        self._writes = 0

    @classmethod
    def connect(
        cls,
        url: str,
        schema: str | None = None,
        *,
        pool_size: int = 8,
        idle_seconds: float = 15.0,
        patience: float = 30.0,
        passwords: Passwords | None = None,
    ) -> "Database":
        """Describe the database at `url`, an SQLAlchemy URL (`sqlite+aiosqlite:///file`, `postgresql+asyncpg://...`).

        `schema` is the PostgreSQL schema of the service. Nothing connects before the first transaction. A transaction
        that writes and says nothing to PostgreSQL for `idle_seconds` is ended there: a process that was frozen in the
        middle of one must not keep its locks from the other replicas. A statement that PostgreSQL has not answered
        after `patience` seconds is Unavailable: a network that swallows everything must not hold its callers.
        `passwords` are asked for each connection, and tried in turn, in place of the one in the URL.
        """
        if sa.make_url(url).get_backend_name() == "sqlite":
            threads: WeakSet[Thread] = WeakSet()
            # What one connection writes, all others must read again: by turns, writers would find nothing in memory.
            writing = sqlite_engine(url, 1, threads, writes=True)
            return cls(sqlite_engine(url, pool_size, threads), None, threads, writing=writing)
        engine = postgres_engine(url, schema, pool_size, idle_seconds, patience, passwords)
        return cls(engine, schema, passwords=passwords)

    @asynccontextmanager
    async def patient(self) -> AsyncIterator["Database"]:
        """The same database where a statement may take as long as it needs, as a migration's does."""
        if self.is_sqlite:
            yield self
            return
        engine = postgres_engine(self.engine.url, self.schema, passwords=self._passwords)
        patient = Database(engine, self.schema)
        try:
            yield patient
        finally:
            await patient.close()

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
    async def write(self, *, lazily: bool = False) -> AsyncIterator[Transaction]:
        """A transaction that writes: committed at the end, rolled back by any error, cancellation included.

        One that is written `lazily` does not wait for the disk: everybody sees it, a killed process does not take it
        away, and a power failure only together with all that was written after it.
        On SQLite writers of this process take turns, so a task must not open a second one inside (RuntimeError).
        Raise Unavailable if the database cannot be reached or is locked, ResourceExhausted DISK_FULL without space.
        """
        if not self.is_sqlite:
            async with self._transaction({WRITES: True, LAZY: lazily}) as tx:
                yield tx
            return
        if self._writing is asyncio.current_task():
            raise RuntimeError("a writing transaction inside another one of the same task")
        async with self._writer:
            self._writing = asyncio.current_task()
            try:
                async with self._transaction({WRITES: True, LAZY: lazily}) as tx:
                    yield tx
            finally:
                self._writing = None
                self._writes += 1

    @property
    def writes(self) -> int | None:
        """How many writing transactions have ended: what was read since the last one is what is there.

        It has moved before the writer goes on. None where other processes write too.
        """
        return self._writes if self.is_sqlite else None

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
        await self._writing_engine.dispose()
        # The driver's threads have closed their connections, and yet speak to this event loop until they end.
        for thread in list(self._threads):
            await asyncio.to_thread(thread.join, _CLOSE_SECONDS)

    @asynccontextmanager
    async def _transaction(self, options: Mapping[str, object]) -> AsyncIterator[Transaction]:
        async with AsyncExitStack() as stack:
            stack.enter_context(timed(DATABASE_SECONDS, "write" if WRITES in options else "read"))
            with typed_errors(connecting=True):
                engine = self._writing_engine if WRITES in options else self.engine
                connection = await stack.enter_async_context(self._connection(engine))
            with typed_errors():
                await connection.execution_options(**options)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def _connection(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        self._in_use += 1
        self._idle.clear()
        connection = None
        try:
            connection = await engine.connect().start()
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


async def insert_ignore(tx: Transaction, table: sa.TableClause, row: Mapping[str, object]) -> bool:
    """Insert a row if its keys are free, and say whether they were."""
    return bool((await tx.execute(_insert(tx, table), dict(row))).rowcount)


async def insert_all(tx: Transaction, table: sa.TableClause, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows, all with the same columns, with less work for each than the library has."""
    await _insert_rows(tx, table, sa.insert(table), rows)


async def insert_missing(tx: Transaction, table: sa.TableClause, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert the rows whose keys are free; all rows must have the same columns."""
    await _insert_rows(tx, table, _insert(tx, table), rows)


async def _insert_rows(
    tx: Transaction, table: sa.TableClause, insert: sa.Insert, rows: Sequence[Mapping[str, object]]
) -> None:
    if not rows:
        return
    statement: Any = insert.compile(dialect=tx.dialect, column_keys=list(rows[0]))
    columns = [_as_parameters(tx.dialect, table.c[name], rows) for name in statement.positiontup]
    values: Sequence[tuple[object, ...]] = list(zip(*columns, strict=True))
    if tx.dialect.name == "sqlite":
        values = await _insert_together(tx, str(statement), values)
    if values:
        await tx.exec_driver_sql(str(statement), values)


async def _insert_together(
    tx: Transaction, insert: str, values: Sequence[tuple[object, ...]]
) -> Sequence[tuple[object, ...]]:
    """Insert as many rows as fill whole statements, and return the others.

    SQLite works on a statement beside the interpreter, and waits for that before each row where they come one by one.
    """
    row = f"({', '.join('?' * len(values[0]))})"
    whole = len(values) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    for start in range(0, whole, _ROWS_AT_ONCE):
        many = insert.replace(row, ", ".join([row] * _ROWS_AT_ONCE))
        await tx.exec_driver_sql(many, tuple(chain.from_iterable(values[start : start + _ROWS_AT_ONCE])))
    return values[whole:]


def _as_parameters(
    dialect: sa.Dialect, column: sa.ColumnElement[Any], rows: Sequence[Mapping[str, object]]
) -> Iterator[object]:
    """A column as the driver takes it; the same value in row after row, as the time of all is, is made ready once."""
    convert = column.type.dialect_impl(dialect).bind_processor(dialect)
    values = map(itemgetter(column.key), rows)
    return values if convert is None else _converted(convert, values)


def _converted(convert: Callable[[object], object], values: Iterable[object]) -> Iterator[object]:
    last: object = None
    converted = convert(None)
    for value in values:
        if value is not last:
            last, converted = value, convert(value)
        yield converted


def _insert(tx: Transaction, table: sa.TableClause) -> sa.Insert:
    insert = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    # The values are no part of the statement, which would be compiled anew for each number of rows.
    return insert(table).on_conflict_do_nothing()


async def compare_and_set(
    tx: Transaction, table: sa.TableClause, *where: sa.ColumnElement[bool], values: Mapping[str, object]
) -> bool:
    """Set `values` in the one row that still fulfils `where`; False if there is none any more."""
    result = await tx.execute(sa.update(table).where(*where).values(dict(values)))
    if result.rowcount > 1:
        raise RuntimeError(f"{result.rowcount} rows of {table.name} fulfil a condition that means one")
    return result.rowcount == 1
