"""A disk that is really full: a database and a folder of blobs say so, keep what they had, and work again."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery_kit.database import Database
from bloomery_kit.errors import ResourceExhausted
from bloomery_kit.objects import FolderObjectStore
from real_parts.disk import Filler

TABLE = sa.Table(
    "items", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("blob", sa.LargeBinary)
)
BLOB = bytes(range(256)) * 4000


@pytest.fixture
async def db(small_disk: Path) -> AsyncIterator[Database]:
    db = Database.connect(f"sqlite+aiosqlite:///{small_disk}/small.db")
    async with db.write() as tx:
        await tx.run_sync(TABLE.metadata.create_all)
    yield db
    await db.close()


async def insert(db: Database, number: int) -> None:
    async with db.write() as tx:
        await tx.execute(sa.insert(TABLE).values(id=number, blob=BLOB))


async def rows(db: Database) -> dict[int, bytes]:
    async with db.read() as tx:
        return {row.id: row.blob for row in await tx.execute(sa.select(TABLE))}


async def test_a_database_keeps_what_it_acknowledged_and_takes_more_when_there_is_room(
    db: Database, filler: Filler
) -> None:
    await insert(db, 1)
    await asyncio.to_thread(filler.fill)
    for number in (2, 3):
        with pytest.raises(ResourceExhausted) as caught:
            await insert(db, number)
        assert caught.value.reason == "DISK_FULL"
    assert await rows(db) == {1: BLOB}
    filler.free()
    await insert(db, 2)
    assert await rows(db) == {1: BLOB, 2: BLOB}
    async with db.read() as tx:
        assert (await tx.exec_driver_sql("PRAGMA integrity_check")).scalar_one() == "ok"


@pytest.mark.parametrize("free", range(0, 80, 8))
async def test_a_database_that_has_no_room_to_be_opened_says_so(small_disk: Path, filler: Filler, free: int) -> None:
    """Its file, its journal or its index, according to the KiB that are free."""
    await asyncio.to_thread(filler.fill)
    os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - free * 1024)
    db = Database.connect(f"sqlite+aiosqlite:///{small_disk}/new.db")
    with pytest.raises(ResourceExhausted) as caught:
        await insert_much(db)
    assert caught.value.reason == "DISK_FULL"
    await db.close()


async def insert_much(db: Database) -> None:
    async with db.write() as tx:
        await tx.run_sync(TABLE.metadata.create_all)
    await insert(db, 1)


@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
async def test_a_folder_of_blobs_holds_whole_blobs_only(
    kind: str, small_disk: Path, tmp_path: Path, filler: Filler
) -> None:
    store = FolderObjectStore(small_disk / "blobs", base_url="http://127.0.0.1:1", signing_key=b"k" * 32)
    await store.put("p/old", BLOB)
    (tmp_path / "new").write_bytes(BLOB)

    async def stream() -> AsyncIterator[bytes]:
        yield BLOB[:1000]
        yield BLOB[1000:]

    async def put() -> None:
        data: dict[str, bytes | Path | AsyncIterator[bytes]]
        data = {"bytes": BLOB, "file": tmp_path / "new", "stream": stream()}
        await store.put("p/new", data[kind])

    await asyncio.to_thread(filler.fill)
    with pytest.raises(ResourceExhausted) as caught:
        await put()
    assert caught.value.reason == "DISK_FULL"
    assert await store.stat("p/new") is None
    assert await store.get("p/old") == BLOB
    assert [path.name for path in (small_disk / "blobs").rglob("*") if path.is_file()] == ["old"]
    filler.free()
    await put()
    assert await store.get("p/new") == BLOB


async def test_parts_that_fit_once_but_not_twice_leave_the_disk_its_last_space(
    small_disk: Path, filler: Filler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is joined is a copy, and others write on the same disk."""
    store = FolderObjectStore(small_disk / "blobs", base_url="http://127.0.0.1:1", signing_key=b"k" * 32)
    parts = [f"p/new.{number}" for number in range(2)]
    for part in parts:
        await store.put(part, BLOB)
    await asyncio.to_thread(filler.fill)
    os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - len(BLOB))
    free, copy = [shutil.disk_usage(small_disk).free], shutil.copyfileobj

    def watched(*args: Any) -> None:
        copy(*args)
        free.append(shutil.disk_usage(small_disk).free)

    monkeypatch.setattr(shutil, "copyfileobj", watched)
    for write in (store.join(parts, "p/new"), store.put("p/new", small_disk / "filler")):
        with pytest.raises(ResourceExhausted) as caught:
            await write
        assert caught.value.reason == "DISK_FULL"
        assert min(free) == free[0]
    filler.free()
    await store.join(parts, "p/new")
    assert await store.get("p/new") == BLOB + BLOB
