"""Databases of older versions go on: what their rows mean is kept, and the tables are those of the code."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from bloomery_kit.database import Database, Transaction
from bloomery_kit.migrations import migrate
from bloomery_kit.times import utc_now
from bloomery_trainer.app import MIGRATIONS
from bloomery_trainer.model import Resources
from bloomery_trainer.store import jobs
from bloomery_trainer.store import tables as rows
from bloomery_trainer.store.damage import Complaints
from bloomery_trainer.store.tables import metadata
from tests import databases
from tests.trainer.hand import Hand


@pytest.fixture(params=databases.BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/old.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


_OLD = {
    "project": "projects/p", "project_uid": "u", "display_name": "", "labels": "{}", "kind": 1, "model": "",
    "spec": "{}", "priority": 0, "creator": "me", "version": 1, "attempt": 0, "failures": 0, "infra_failures": 0,
    "retry_delay": 0.0, "force": False, "progress": "{}", "last_sequence": 1, "oldest_sequence": 1,
    "worked_seconds": 0.0, "create_time": "2026-01-01", "queue_time": "2026-01-01", "update_time": "2026-01-01",
}  # fmt: skip


async def write_down(tx: Transaction, **values: object) -> None:
    """A row as an older version would write it."""
    table = await tx.run_sync(lambda connection: sa.Table("jobs", sa.MetaData(), autoload_with=connection))
    row = _OLD | values
    times = {key: sa.text("CURRENT_TIMESTAMP") for key in row if key.endswith("_time")}
    await tx.execute(sa.insert(table).values(**row | times))


async def test_jobs_from_before_keep_their_holders(url: str) -> None:
    db = Database.connect(url, "training")
    await databases.migrate_to(db, MIGRATIONS, "0003")
    states = {"buried": (10, "x", False, True), "going": (10, "x", True, True), "there": (8, "x", True, False)}
    states |= {"alone": (10, "y", True, True), "open": (4, "z", True, False)}
    async with db.write() as tx:
        for number, (uid, (at, name, held, gone)) in enumerate(states.items()):
            await write_down(tx, uid=uid, number=number, state=at, job_id=name, held=held, deleted=gone)
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        rows = await tx.execute(sa.text("SELECT uid, holder, held FROM jobs"))
        found = {row.uid: (row.holder.rpartition("/")[2], bool(row.held)) for row in rows}
        # What would rename, and so lose, somebody's hold.
        assert found == {
            "buried": ("buried", False),
            "going": ("going", True),
            "there": ("x", True),
            "alone": ("y", True),
            "open": ("z", False),
        }
    await db.close()


async def test_jobs_that_wait_since_before_take_what_they_asked_for(url: str) -> None:
    db = Database.connect(url, "training")
    await databases.migrate_to(db, MIGRATIONS, "0004")
    asks = {"all": {"cpus": 1.5, "memory_bytes": 5 << 30, "gpus": 2}, "some": {"cpus": 2}}
    async with db.write() as tx:
        for number, (uid, resources) in enumerate(asks.items(), 1):
            spec = json.dumps({"resources": resources})
            await write_down(tx, uid=uid, number=number, state=1, job_id=uid, held=True, deleted=False, spec=spec)
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        found = {job.uid: job.resources for job in Complaints().whole(await jobs.waiting(tx, 0, 10))}
    await db.close()
    assert found == {"all": Resources(1.5, 5 << 30, 2), "some": Resources(2, 0, 0)}


async def test_jobs_that_wait_or_work_since_before_go_on_from_what_their_times_say(url: str) -> None:
    db, long_ago = Database.connect(url, "training"), utc_now() - timedelta(seconds=1000)
    await databases.migrate_to(db, MIGRATIONS, "0008")
    states = {"waits": 1, "works": 4, "ended": 8}
    async with db.write() as tx:
        for number, (uid, at) in enumerate(states.items(), 1):
            await write_down(tx, uid=uid, number=number, state=at, job_id=uid, held=True, deleted=False)
        await tx.execute(sa.update(rows.jobs).values(queue_time=long_ago))
        for uid in ("works", "ended"):
            values = {"job_uid": uid, "number": 1, "nonce": "n", "token_hash": uid, "host": "", "worker_sequence": 0}
            values |= {"reports": 0, "stalled": False, "publishing": False, "create_time": long_ago}
            await tx.execute(sa.insert(rows.attempts).values(started_at=long_ago, **values))
        await tx.execute(sa.update(rows.attempts).where(rows.attempts.c.job_uid == "ended").values(ended_at=long_ago))
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        waited = {row.uid: row.queued_seconds for row in await tx.execute(sa.text("SELECT * FROM jobs"))}
        worked = {row.job_uid: row.worked_seconds for row in await tx.execute(sa.text("SELECT * FROM attempts"))}
    await db.close()
    assert waited == {"waits": pytest.approx(1000, abs=50), "works": 0, "ended": 0}
    assert worked == {"works": pytest.approx(1000, abs=50), "ended": 0}


async def test_the_tables_are_those_of_the_migrations(url: str) -> None:
    db = Database.connect(url, "training")
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        different = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
    await db.close()
    assert [change for change in different if "alembic_version" not in str(change)] == []


async def test_jobs_that_an_older_version_creates_meanwhile_take_what_they_ask_for(hand: Hand) -> None:
    """It knows nothing of the columns, and leaves them to the database."""
    for cpus in (1.0, 2.0):
        await hand.trainer.create(resources={"cpus": cpus, "memory_bytes": 1 << 20, "gpus": 3})
    async with hand.core.db.write() as tx:
        await tx.execute(sa.text("UPDATE jobs SET cpus = 0, memory_bytes = 0, gpus = 0 WHERE number = 2"))
    async with hand.core.db.read() as tx:
        found = [job.resources for job in Complaints().whole(await jobs.waiting(tx, 0, 10))]
    assert found == [Resources(1, 1 << 20, 3), Resources(2, 1 << 20, 3)]
