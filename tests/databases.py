"""Databases with a service's tables: migrated once for all tests, and copied for each.

What the migrations do is tested where it matters; every other test wants to begin with what they lead to.
"""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from bloomery_kit.database import Database, Transaction
from bloomery_kit.migrations import migrate
from real_parts.postgres import PostgresServer

SQLITE = ("sqlite",)
POSTGRES = (pytest.param("postgres", marks=pytest.mark.real_server),)
BOTH = (*SQLITE, *POSTGRES)
"""The parameters of whatever is tested on each of the databases."""


def sqlite_url(service: str, file: Path) -> str:
    """The URL of a new database with the tables of "annotation", "dataset", "inference" or "trainer"."""
    if not file.exists():
        shutil.copyfile(_sqlite_template(service), file)
    return f"sqlite+aiosqlite:///{file}"


@asynccontextmanager
async def postgres_url(service: str, server: PostgresServer) -> AsyncIterator[str]:
    """The same in PostgreSQL, for as long as the block runs."""
    import asyncpg

    connection = await asyncpg.connect(server.url("postgres", driver="postgresql"))
    name = f"test_{uuid4().hex}"
    try:
        template = f"template_{service}"
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", template):
            await connection.execute(f"CREATE DATABASE {template}")
            await _migrate(service, server.url(template))
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield server.url(name)
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()


@cache
def _sqlite_template(service: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bloomery-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "template.db"
    # In a thread, because whoever asks may be inside an event loop.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, _migrate(service, f"sqlite+aiosqlite:///{file}")).result()
    return file


async def _migrate(service: str, url: str) -> None:
    app = import_module(f"bloomery_{service}.app")
    db = Database.connect(url, app.SCHEMA)
    await migrate(db, app.MIGRATIONS)
    await db.close()


async def migrate_to(db: Database, migrations: Path, revision: str) -> None:
    """Make a new database as an older version left it, whose last migration is `revision`."""

    def upgrade(connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations))
        command.upgrade(config, revision)

    async with db.write() as tx:
        if not db.is_sqlite and db.schema:
            await tx.execute(sa.schema.CreateSchema(db.schema))
        await tx.run_sync(upgrade)


async def steps(tx: Transaction, work: Awaitable[object]) -> int:
    """How many hundreds of instructions the database carries out for some work."""
    driver: Any = (await tx.get_raw_connection()).driver_connection
    count = [0]

    def tell() -> int:
        count[0] += 1
        return 0

    await driver.set_progress_handler(tell, 100)
    await work
    await driver.set_progress_handler(None, 100)
    return count[0]
