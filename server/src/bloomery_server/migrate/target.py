"""The PostgreSQL that is filled: what is in it, who else uses it, and how rows get there."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event

from bloomery.errors import FailedPrecondition
from bloomery_kit.database import Database, Transaction
from bloomery_kit.engines import Passwords
from bloomery_kit.migrations import migrate
from bloomery_server.migrate import journal
from bloomery_server.migrate.parts import PARTS, WRITTEN_AT_START, Part
from bloomery_server.migrate.rows import Columns, Content, Digest, Row

_LOCK = 0x6D6967726174
_PATIENCE = 3600.0
"""Seconds for a statement: a large table is counted."""
_OTHERS = """
SELECT DISTINCT coalesce(host(client_addr), 'a socket') FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND backend_type = 'client backend'
AND NOT pid = ANY(:own)
"""


class Target:
    """The database of a cluster's installation, on which no service works meanwhile."""

    def __init__(self, url: str, passwords: Passwords | None) -> None:
        self._url, self._passwords = url, passwords
        self.db = Database.connect(url, pool_size=2, patience=_PATIENCE, passwords=passwords)
        self._own: set[int] = set()
        event.listen(self.db.engine.sync_engine, "connect", self._remember)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, passwords: Passwords | None = None) -> AsyncIterator[Self]:
        """Connect, and keep other migrations away. Raise FailedPrecondition while one runs, Unavailable."""
        target = cls(url, passwords)
        try:
            # The database forgets the lock with the connection, however this process ends.
            async with target.db.read():
                pass
            async with target.db.engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                if not await alone.scalar(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                    raise FailedPrecondition(
                        "another migration into this database is running",
                        reason="MIGRATION_RUNNING",
                        hint="let it end; one that was killed is forgotten within a minute",
                    )
                yield target
        finally:
            await target.db.close()

    async def others(self) -> list[str]:
        """From where others are connected to the database as its owner: services, most likely."""
        async with self.db.read() as tx:
            return sorted(await tx.scalars(sa.text(_OTHERS), {"own": list(self._own)}))

    async def revision(self, part: Part) -> str | None:
        """At which migration a service's schema is, None where there is none."""
        async with self.db.read() as tx:
            if (
                await tx.scalar(sa.text("SELECT to_regclass(:name)"), {"name": f"{part.schema}.alembic_version"})
                is None
            ):
                return None
            found: str | None = await tx.scalar(sa.text(f"SELECT version_num FROM {part.schema}.alembic_version"))  # noqa: S608
            return found

    async def run(self) -> journal.Run | None:
        """The migration that was begun here."""
        async with self.db.read() as tx:
            return await journal.find(tx)

    async def filled(self) -> list[str]:
        """Tables with rows that services do not write by themselves."""
        found = []
        async with self.db.read() as tx:
            for part in PARTS:
                for table in part.metadata.sorted_tables:
                    there = await tx.scalar(sa.text("SELECT to_regclass(:name)"), {"name": _plain(part, table)})
                    if there is not None and table.name not in WRITTEN_AT_START:
                        query = f"SELECT EXISTS (SELECT 1 FROM {_quoted(part, table)})"  # noqa: S608
                        if await tx.scalar(sa.text(query)):
                            found.append(_plain(part, table))
        return found

    async def prepare(self) -> None:
        """Bring the schema of every service up to date."""
        for part in PARTS:
            db = Database.connect(self._url, part.schema, passwords=self._passwords)
            event.listen(db.engine.sync_engine, "connect", self._remember)
            try:
                await migrate(db, part.migrations)
            finally:
                await db.close()

    async def clear(self, tx: Transaction) -> None:
        """Remove whatever an earlier, unfinished run and services at their start have written."""
        tables = [_quoted(part, table) for part in PARTS for table in part.metadata.sorted_tables]
        await tx.execute(sa.text(f"TRUNCATE {', '.join(tables)}"))

    async def append(self, part: Part, table: sa.Table, rows: Sequence[Row], *, before: int, place: Row) -> None:
        """Write rows and how far the table is by that. Raise FailedPrecondition where somebody else writes it too."""
        columns = Columns(table)
        names = ", ".join(f'"{name}"' for name in columns.names)
        values = ", ".join(f"${number}" for number in range(1, len(columns.names) + 1))
        statement = f"INSERT INTO {_quoted(part, table)} ({names}) VALUES ({values})"  # noqa: S608
        async with self.db.write() as tx:
            if not await journal.advance(tx, _plain(part, table), before, before + len(rows), place):
                raise FailedPrecondition(
                    f"somebody else moves {_plain(part, table)}", reason="MIGRATION_RUNNING", hint="let one of both end"
                )
            await tx.exec_driver_sql(statement, list(rows))

    async def count(self, part: Part, table: sa.Table) -> int:
        """How many rows a table has."""
        async with self.db.read() as tx:
            found = await tx.scalar(sa.text(f"SELECT count(*) FROM {_quoted(part, table)}"))  # noqa: S608
            return int(found or 0)

    async def content(self, part: Part, table: sa.Table) -> Content:
        """What a table holds."""
        names = ", ".join(map(_as_text, table.columns))
        digest = Digest()
        async with self.db.read() as tx:
            async for row in await tx.stream(sa.text(f"SELECT {names} FROM {_quoted(part, table)}")):  # noqa: S608
                digest.add(tuple(row))
        return digest.content()

    async def settle_sequences(self) -> None:
        """Let what the database numbers by itself go on behind the numbers that are there."""
        async with self.db.write() as tx:
            for part in PARTS:
                for table in part.tables:
                    for column in _numbered(table):
                        found = {"table": _quoted(part, table), "column": column}
                        owned = await tx.scalar(sa.text("SELECT pg_get_serial_sequence(:table, :column)"), found)
                        if owned:
                            highest = f'SELECT max("{column}") FROM {_quoted(part, table)}'  # noqa: S608
                            await tx.execute(sa.text(f"SELECT setval('{owned}', ({highest}))"))

    def _remember(self, made: Any, _record: object) -> None:
        self._own.add(made.driver_connection.get_server_pid())


def name_of(part: Part, table: sa.Table) -> str:
    """How a table is called in reports and in the journal."""
    return _plain(part, table)


def _as_text(column: sa.Column[Any]) -> str:
    """A column to be selected; of a document the text that was written."""
    return f'"{column.name}"::text' if isinstance(column.type, sa.JSON) else f'"{column.name}"'


def _numbered(table: sa.Table) -> Iterable[str]:
    return (column.name for column in table.primary_key if isinstance(column.type, sa.Integer))


def _plain(part: Part, table: sa.Table) -> str:
    return f"{part.schema}.{table.name}"


def _quoted(part: Part, table: sa.Table) -> str:
    return f'"{part.schema}"."{table.name}"'
