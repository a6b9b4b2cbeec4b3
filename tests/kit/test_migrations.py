import asyncio
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable
from bloomery_kit.migrations import check_schema, migrate

ENV = "from bloomery_kit.migrations import run_env\n\nrun_env()\n"
SCRIPT = """
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down!r}
contracts = {contracts}


def upgrade():
    {upgrade}
"""


def add(scripts: Path, revision: str, down: str | None, upgrade: str, *, contracts: bool = False) -> None:
    text = SCRIPT.format(revision=revision, down=down, upgrade=upgrade, contracts=contracts)
    (scripts / "versions" / f"{revision}.py").write_text(text)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    add(folder, "0001", None, 'op.create_table("things", sa.Column("id", sa.Integer, primary_key=True))')
    add(folder, "0002", "0001", 'op.add_column("things", sa.Column("size", sa.Integer))')
    return folder


async def columns(db: Database) -> list[str]:
    async with db.read() as tx:
        return await tx.run_sync(lambda connection: [c["name"] for c in sa.inspect(connection).get_columns("things")])


async def test_an_empty_database_reaches_the_newest_schema(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    assert await columns(empty_db) == ["id", "size"]
    await check_schema(empty_db, scripts)


async def test_migrating_again_changes_nothing(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    await migrate(empty_db, scripts)
    assert await columns(empty_db) == ["id", "size"]


async def test_where_the_schema_is_the_newest_no_script_runs(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    (scripts / "env.py").write_text("raise KeyError")
    await migrate(empty_db, scripts)


async def test_two_at_once_are_safe(database_url: str, scripts: Path) -> None:
    databases = [Database.connect(database_url, "kit") for _ in range(2)]
    await asyncio.gather(*(migrate(db, scripts) for db in databases))
    assert await columns(databases[0]) == ["id", "size"]
    for db in databases:
        await db.close()


async def test_an_outdated_schema_is_not_ready(empty_db: Database, scripts: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await check_schema(empty_db, scripts)
    assert caught.value.reason == "SCHEMA_OUTDATED"
    await migrate(empty_db, scripts)
    await check_schema(empty_db, scripts)
    newer = scripts.with_name("newer")
    shutil.copytree(scripts, newer)
    add(newer, "0003", "0002", "pass")
    with pytest.raises(Unavailable):
        await check_schema(empty_db, newer)


async def test_looking_at_the_schema_again_and_again_keeps_no_statements(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    await check_schema(empty_db, scripts)
    kept = empty_db.engine.sync_engine._compiled_cache
    assert kept is not None
    before = len(kept)
    for _ in range(3):
        await check_schema(empty_db, scripts)
    assert len(kept) == before


async def test_a_schema_that_nobody_has_made_yet_is_outdated(empty_db: Database, scripts: Path) -> None:
    with pytest.raises(Unavailable) as outdated:
        await check_schema(empty_db, scripts)
    assert outdated.value.reason == "SCHEMA_OUTDATED"


async def test_a_migration_that_dies_half_way_leaves_the_old_schema(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    newer = scripts.with_name("newer")
    shutil.copytree(scripts, newer)
    add(newer, "0003", "0002", 'op.add_column("things", sa.Column("lost", sa.Integer)); raise KeyError')
    with pytest.raises(KeyError):
        await migrate(empty_db, newer)
    assert await columns(empty_db) == ["id", "size"]
    add(newer, "0003", "0002", 'op.add_column("things", sa.Column("colour", sa.Integer))')
    await migrate(empty_db, newer)
    assert await columns(empty_db) == ["id", "size", "colour"]


async def test_an_older_version_goes_on_with_a_schema_that_was_only_expanded(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    newer = scripts.with_name("newer")
    shutil.copytree(scripts, newer)
    add(newer, "0003", "0002", 'op.add_column("things", sa.Column("colour", sa.Integer))')
    add(newer, "0004", "0003", 'op.add_column("things", sa.Column("weight", sa.Integer))')
    await migrate(empty_db, newer)
    await check_schema(empty_db, scripts)
    await migrate(empty_db, scripts)
    assert await columns(empty_db) == ["id", "size", "colour", "weight"]


async def test_an_older_version_is_refused_once_a_schema_was_contracted(empty_db: Database, scripts: Path) -> None:
    await migrate(empty_db, scripts)
    newer = scripts.with_name("newer")
    shutil.copytree(scripts, newer)
    add(newer, "0003", "0002", 'op.add_column("things", sa.Column("colour", sa.Integer))')
    await migrate(empty_db, newer)
    newest = scripts.with_name("newest")
    shutil.copytree(newer, newest)
    add(newest, "0004", "0003", 'op.drop_column("things", "size")', contracts=True)
    add(newest, "0005", "0004", 'op.add_column("things", sa.Column("weight", sa.Integer))')
    await migrate(empty_db, newest)
    for older in (scripts, newer):
        with pytest.raises(Unavailable, match="is at 0005"):
            await check_schema(empty_db, older)
        with pytest.raises(Unavailable) as refused:
            await migrate(empty_db, older)
        assert refused.value.reason == "SCHEMA_NEWER"
    assert await columns(empty_db) == ["id", "colour", "weight"]


async def test_services_share_a_postgres_without_seeing_each_other(postgres_url: str, scripts: Path) -> None:
    databases = [Database.connect(postgres_url, schema) for schema in ("one", "two")]
    for db in databases:
        await migrate(db, scripts)
    async with databases[0].write() as tx:
        await tx.execute(sa.text("INSERT INTO things (id) VALUES (1)"))
    async with databases[1].read() as tx:
        assert await tx.scalar(sa.text("SELECT count(*) FROM things")) == 0
    for db in databases:
        await db.close()
