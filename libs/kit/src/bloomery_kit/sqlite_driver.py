"""SQLite's driver with fewer visits to its thread.

A connection lives in a thread of its own. To go there and back costs more than most statements, and the library goes
four times for each: to make a cursor, to run it, to fetch the rows, and to close it. Here all four are one visit, and
a transaction that reads takes two: its statement, which begins it, and its end.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection
from sqlalchemy.util.concurrency import await_

_Outcome = tuple[Any, int, int | None, list[Any]]
"""A statement's description, row count, last row id and rows."""


class _Cursor:
    """What SQLAlchemy uses of a cursor; the rows of a statement are here when it has run."""

    arraysize = 1
    description: Any = None
    rowcount = -1
    lastrowid: int | None = None

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self._rows: deque[Any] = deque()

    def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement and fetch what it returns."""
        self._visit(lambda cursor: cursor.execute(operation, parameters))

    def executemany(self, operation: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row of parameters."""
        self._visit(lambda cursor: cursor.executemany(operation, parameters))

    def _visit(self, run: Callable[[sqlite3.Cursor], object]) -> None:
        self.description, self.rowcount, self.lastrowid, rows = self._connection.visit(run)
        self._rows = deque(rows)

    def fetchone(self) -> Any:
        """The next row, None after the last."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        return [self._rows.popleft() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while self._rows:
            yield self._rows.popleft()

    def close(self) -> None:
        """Forget the rows."""
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Nothing is open any more."""


class _Connection(AsyncAdapt_aiosqlite_connection):
    """The library's, with our cursors; it ends no transaction where none can be open."""

    __slots__ = ("_begins", "_visited")
    _cursor_cls = _Cursor  # type: ignore[assignment]

    def __init__(self, dbapi: Any, driver: Any) -> None:
        super().__init__(dbapi, driver)
        self._begins = self._visited = False

    def begin_with_next(self) -> None:
        """Begin a transaction with the next statement, which is when SQLite looks at the database anyway."""
        self._begins = True

    def visit(self, run: Callable[[sqlite3.Cursor], object]) -> _Outcome:
        """What became of `run` in the thread of the connection."""
        begins, self._begins = self._begins, False
        # Whatever becomes of this visit, it may leave a transaction.
        self._visited = True
        driver: Any = self._connection
        try:
            outcome: _Outcome = await_(driver._execute(_outcome, driver._conn, run, begins))  # noqa: SLF001
        except Exception as error:  # noqa: BLE001
            self._handle_exception(error)
        return outcome

    def commit(self) -> None:
        """Commit what was done."""
        self._end(super().commit)

    def rollback(self) -> None:
        """Take back what was done."""
        self._end(super().rollback)

    def _end(self, end: Callable[[], None]) -> None:
        self._begins = False
        if self._visited:
            end()
            self._visited = False


def _outcome(connection: sqlite3.Connection, run: Callable[[sqlite3.Cursor], object], begins: bool) -> _Outcome:
    with closing(connection.cursor()) as cursor:
        if begins:
            cursor.execute("BEGIN")
        run(cursor)
        rows = cursor.fetchall() if cursor.description else []
        return cursor.description, cursor.rowcount, cursor.lastrowid, rows


def connect(dialect: Any, _record: object, arguments: Sequence[Any], named: dict[str, Any]) -> _Connection:
    """Connect as the dialect does; for its event `do_connect`."""
    made = dialect.connect(*arguments, **named)
    return _Connection(made.dbapi, made.driver_connection)
