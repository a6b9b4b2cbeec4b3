"""Schema migrations: Alembic scripts inside each service's package, run under a lock.

A service's `migrations/env.py` is two lines: `from bloomery_kit.migrations import run_env` and `run_env()`.

Scripts expand the schema: what an older version of the service reads and writes goes on to work beside the newer one,
and after a way back to it. A script that takes something away says `contracts = True`, and refuses versions before it.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import exc

from bloomery_kit.database import Database
from bloomery_kit.database_errors import read_only
from bloomery_kit.errors import Unavailable

_LOCK = 0x626C6F6F6D
# Alembic's own reading of it costs twenty times as much, and readiness is asked for every few seconds.
_VERSIONS = sa.table("alembic_version", sa.column("version_num", sa.String))
_REVISION = sa.select(_VERSIONS.c.version_num)
# The revisions of the versions of a service that may use a schema which was made by a newer one.
_READERS = sa.Table("alembic_version_readers", sa.MetaData(), sa.Column("revision", sa.String(32), primary_key=True))
_REVISIONS_OF_READERS = sa.select(_READERS.c.revision)
# A standby that was not promoted yet, or a server that was told to take no writes.
_READ_ONLY = sa.text("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean")


def run_env() -> None:
    """Run the pending migrations on the connection that `migrate` opened; the whole of a service's `env.py`."""
    context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def migrate(db: Database, script_location: Path | str) -> None:
    """Bring the schema to its newest version in one transaction; of two at once, one waits and finds nothing to do.

    Raise Unavailable if a newer version of the service made it into one that this version cannot use.
    """
    config = _config(script_location)
    async with db.patient() as patient, patient.write() as tx:
        if not db.is_sqlite:
            await tx.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if db.schema:
                await tx.execute(sa.schema.CreateSchema(db.schema, if_not_exists=True))
        await tx.run_sync(_upgrade, config, _head(str(script_location)))


async def check_schema(db: Database, script_location: Path | str) -> None:
    """Raise Unavailable unless the database answers, takes writes, and has a schema that this code can use."""
    head = _head(str(script_location))
    present = await _strings(db, _REVISION)
    if present != [head] and head not in await _strings(db, _REVISIONS_OF_READERS):
        revision = " and ".join(present) or "nothing"
        raise Unavailable("SCHEMA_OUTDATED", f"the schema is at {revision} and should be at {head}")


async def _strings(db: Database, statement: sa.Select[tuple[str]]) -> list[str]:
    try:
        async with db.read() as tx:
            if not db.is_sqlite and await tx.scalar(_READ_ONLY):
                raise read_only()
            return list(await tx.scalars(statement))
    except exc.DBAPIError:
        # Nobody has migrated it yet: the table is missing.
        return []


@cache
def _head(script_location: str) -> str | None:
    # Reading the scripts takes milliseconds, and readiness is asked for every few seconds.
    return ScriptDirectory.from_config(_config(script_location)).get_current_head()


def _config(script_location: Path | str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location))
    return config


def _upgrade(connection: sa.Connection, config: Config, head: str | None) -> None:
    tables = sa.inspect(connection)
    present = connection.scalar(_REVISION) if tables.has_table(_VERSIONS.name) else None
    # As on most starts: Alembic runs through all scripts to find that nothing is to be done.
    if present == head:
        return
    _READERS.create(connection, checkfirst=True)
    readers: set[str] = set(connection.scalars(_REVISIONS_OF_READERS))
    if head in readers:
        return
    scripts = ScriptDirectory.from_config(config)
    if present not in {None, *(script.revision for script in scripts.walk_revisions())}:
        raise Unavailable("SCHEMA_NEWER", f"the schema is at {present}, which only newer versions than {head} can use")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    pending = [*scripts.iterate_revisions(head, present or "base")]
    connection.execute(sa.delete(_READERS))
    if left := _readers_after(readers, reversed(pending)):
        connection.execute(sa.insert(_READERS), [{"revision": revision} for revision in sorted(left)])


def _readers_after(readers: set[str], done: Iterable[Script]) -> set[str]:
    for script in done:
        if getattr(script.module, "contracts", False):
            readers = set()
        elif isinstance(script.down_revision, str):
            readers = readers | {script.down_revision}
    return readers
