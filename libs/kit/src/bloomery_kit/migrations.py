"""Schema migrations: Alembic scripts inside each service's package, run under a lock.

A service's `migrations/env.py` is two lines: `from bloomery_kit.migrations import run_env` and `run_env()`.
"""

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import exc

from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable

_LOCK = 0x626C6F6F6D
# Alembic's own reading of it costs twenty times as much, and readiness is asked for every few seconds.
_VERSIONS = sa.table("alembic_version", sa.column("version_num", sa.String))
_REVISION = sa.select(_VERSIONS.c.version_num)


def run_env() -> None:
    """Run the pending migrations on the connection that `migrate` opened; the whole of a service's `env.py`."""
    context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def migrate(db: Database, script_location: Path | str) -> None:
    """Bring the schema to its newest version in one transaction; of two at once, one waits and finds nothing to do."""
    config = _config(script_location)
    async with db.patient() as patient, patient.write() as tx:
        if not db.is_sqlite:
            await tx.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if db.schema:
                await tx.execute(sa.schema.CreateSchema(db.schema, if_not_exists=True))
        await tx.run_sync(_upgrade, config, _head(str(script_location)))


async def check_schema(db: Database, script_location: Path | str) -> None:
    """Raise Unavailable unless the database answers and its schema is the one that these scripts lead to."""
    head = _head(str(script_location))
    try:
        async with db.read() as tx:
            revision = await tx.scalar(_REVISION)
    except exc.DBAPIError:
        # Nobody has migrated it yet: the table is missing.
        revision = None
    if revision != head:
        raise Unavailable("SCHEMA_OUTDATED", f"the schema is at {revision or 'nothing'} and should be at {head}")


@cache
def _head(script_location: str) -> str | None:
    # Reading the scripts takes milliseconds, and readiness is asked for every few seconds.
    return ScriptDirectory.from_config(_config(script_location)).get_current_head()


def _config(script_location: Path | str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location))
    return config


def _upgrade(connection: sa.Connection, config: Config, head: str | None) -> None:
    # As on most starts: Alembic runs through all scripts to find that nothing is to be done.
    if sa.inspect(connection).has_table(_VERSIONS.name) and connection.scalar(_REVISION) == head:
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
