"""A service's SQLite file, read and never written."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

import sqlalchemy as sa

from bloomery.errors import FailedPrecondition
from bloomery_server.migrate.parts import Part
from bloomery_server.migrate.rows import BadRowError, Columns, Content, Digest, Row

_FETCHED = 500
_BAD_ROWS = 20
"""Of a table that are named."""


class Source:
    """The tables of one service in a data folder that no server runs on."""

    def __init__(self, part: Part, database: sqlite3.Connection) -> None:
        self.part = part
        self._database = database

    @classmethod
    @contextmanager
    def open(cls, part: Part, root: Path) -> Iterator[Self]:
        """Open the file of a service. Raise FailedPrecondition where it is missing or damaged."""
        file = root / f"{part.service}.db"
        if not file.is_file():
            raise FailedPrecondition(f"{file} is missing", reason="NO_DATABASE", hint=_UPDATE)
        # Not read-only: what a server left in the journal when it was killed belongs to the file.
        address = f"file:{quote(str(file))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)) as database:
            database.text_factory = bytes
            with _readable(file):
                database.execute("PRAGMA query_only = ON")
                yield cls(part, database)

    def revision(self) -> str | None:
        """At which migration its schema is, None where it has none."""
        if not self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return None
        found = self._database.execute("SELECT version_num FROM alembic_version").fetchone()
        return found[0].decode() if found else None

    def rows(self, table: sa.Table, after: Row | None = None, bad: list[str] | None = None) -> Iterator[Row]:
        """The rows in an order of their own, those behind the key `after`.

        A row that cannot be moved is described in `bad`; without that, raise BadRowError.
        """
        columns = Columns(table)
        cursor = self._database.execute(*_query(table, columns, after))
        while found := cursor.fetchmany(_FETCHED):
            for row in found:
                try:
                    yield columns.convert(row)
                except BadRowError as error:
                    if bad is None:
                        raise
                    key = ", ".join(_shown(row[place]) for place in columns.keys)
                    bad.append(f"{self.part.service}.{table.name}, row {key}: {error}")

    def scan(self, table: sa.Table) -> tuple[Content, list[str]]:
        """What a table holds, and the rows of it that cannot be moved."""
        bad: list[str] = []
        digest = Digest()
        for row in self.rows(table, bad=bad):
            digest.add(row)
        more = [f"{self.part.service}.{table.name}: and {len(bad) - _BAD_ROWS} more"] if len(bad) > _BAD_ROWS else []
        return digest.content(), bad[:_BAD_ROWS] + more

    def select(self, statement: str) -> Iterator[tuple[object, ...]]:
        """Rows of a query of one's own; texts are bytes."""
        yield from self._database.execute(statement)


_UPDATE = "start `bloomery up` of this version on the folder once and stop it: it brings the tables up to date"


def _query(table: sa.Table, columns: Columns, after: Row | None) -> tuple[str, Row]:
    key = ", ".join(f'"{columns.names[place]}"' for place in columns.keys)
    names = ", ".join(f'"{name}"' for name in columns.names)
    # A row that refers to another one of its table comes behind those that do not.
    refers = "".join(f'"{name}" IS NOT NULL, ' for name in own_references(table))
    query = f'SELECT {names} FROM "{table.name}"'  # noqa: S608 - names of our own tables
    if after is not None:
        query += f" WHERE ({refers}{key}) > ({', '.join('?' * len(after))})"
    return f"{query} ORDER BY {refers}{key}", after or ()


def own_references(table: sa.Table) -> list[str]:
    """The columns by which rows of a table refer to others of the same."""
    return [key.parent.name for key in table.foreign_keys if key.column.table is table]


def place(table: sa.Table, columns: Columns, row: Row) -> Row:
    """Where a row stands in the order of `Source.rows`."""
    refers = (row[columns.names.index(name)] is not None for name in own_references(table))
    return (*refers, *columns.key(row))


def _shown(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        hint = "restore the folder from a backup, and migrate that"
        raise FailedPrecondition(f"{file} cannot be read: {error}", reason="DATABASE_CORRUPT", hint=hint) from error
