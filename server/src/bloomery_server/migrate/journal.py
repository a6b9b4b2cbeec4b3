"""What a migration writes down in the database that it fills, in a schema of its own: a repeat goes on from there.

Rows and the line that says up to where they are there are committed together.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from bloomery_kit.database import Transaction, UtcDateTime
from bloomery_server.migrate.rows import Content, Row

SCHEMA = "migration"
METADATA = sa.MetaData(schema=SCHEMA)
RUN = sa.Table(
    "run",
    METADATA,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("begin_time", UtcDateTime, nullable=False),
    sa.Column("end_time", UtcDateTime),
)
TABLES = sa.Table(
    "tables",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    # What the source had when this table was begun, and how many rows of it are here, up to which one.
    sa.Column("source_rows", sa.BigInteger, nullable=False),
    sa.Column("source_digest", sa.String, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("place", sa.String),
)
BLOBS = sa.Table(
    "blobs",
    METADATA,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("modified", UtcDateTime, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
)


@dataclass(frozen=True)
class Run:
    """The one migration into an installation; `source` tells folders apart and is no secret."""

    source: str
    begin_time: datetime
    end_time: datetime | None


@dataclass(frozen=True)
class Progress:
    """How far a table is copied: rows that are there, and the place of the last one."""

    source: Content
    rows: int
    place: Row | None


@dataclass(frozen=True)
class Copied:
    """A file that is in the bucket: what it was in the folder."""

    key: str
    size_bytes: int
    modified: datetime
    digest: str


async def find(tx: Transaction) -> Run | None:
    """The migration that was begun here, None for none."""
    if await tx.scalar(sa.text(f"SELECT to_regclass('{SCHEMA}.run')")) is None:
        return None
    row = (await tx.execute(sa.select(RUN))).one_or_none()
    return Run(row.source, row.begin_time, row.end_time) if row else None


async def begin(tx: Transaction, run: Run, tables: Mapping[str, Content]) -> None:
    """Write down that a migration begins, or begins anew, with all tables empty; files that are there stay so."""
    await tx.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
    await tx.run_sync(METADATA.create_all)
    await tx.execute(sa.delete(RUN))
    await tx.execute(sa.delete(TABLES))
    await tx.execute(
        sa.insert(RUN), {"id": 1, "source": run.source, "begin_time": run.begin_time, "end_time": run.end_time}
    )
    rows = [
        {"name": name, "source_rows": content.rows, "source_digest": content.digest, "rows": 0, "place": None}
        for name, content in tables.items()
    ]
    await tx.execute(sa.insert(TABLES), rows)


async def progress(tx: Transaction) -> dict[str, Progress]:
    """How far each table is."""
    return {
        row.name: Progress(
            Content(row.source_rows, row.source_digest), row.rows, row.place and tuple(json.loads(row.place))
        )
        for row in await tx.execute(sa.select(TABLES))
    }


async def advance(tx: Transaction, name: str, before: int, rows: int, place: Row) -> bool:
    """Say that `rows` rows are there where `before` were; False if somebody else has moved it."""
    statement = sa.update(TABLES).where(TABLES.c.name == name, TABLES.c.rows == before)
    result = await tx.execute(statement.values(rows=rows, place=json.dumps(place)))
    return result.rowcount == 1


async def copied(tx: Transaction) -> dict[str, Copied]:
    """The files that are in the bucket, by key."""
    found = await tx.execute(sa.select(BLOBS))
    return {row.key: Copied(row.key, row.size_bytes, row.modified, row.digest) for row in found}


async def note(tx: Transaction, files: Sequence[Copied]) -> None:
    """Say that files are in the bucket."""
    insert = postgresql.insert(BLOBS)
    new = {name: insert.excluded[name] for name in ("size_bytes", "modified", "digest")}
    rows = [
        {"key": file.key, "size_bytes": file.size_bytes, "modified": file.modified, "digest": file.digest}
        for file in files
    ]
    await tx.execute(insert.on_conflict_do_update(index_elements=["key"], set_=new), rows)


async def end(tx: Transaction, when: datetime) -> None:
    """Say that all is there and was found to be the same."""
    await tx.execute(sa.update(RUN).values(end_time=when))
