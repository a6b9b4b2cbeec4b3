"""Builders and services that are killed at any moment: another one brings the build to its end."""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetVersion
from bloomery_dataset.builder import Builder
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import error_info
from bloomery_kit.objects import FolderObjectStore, ObjectStat
from bloomery_kit.objects import _protocol as objects_protocol
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import (
    SIGNING_KEY,
    TOKEN,
    Crash,
    Service,
    building,
    complete,
    fill,
    let_leases_run_out,
    until,
)


class CrashingStore(FolderObjectStore):
    """Dies at the `nth` put: before it, or after it where `late`."""

    nth, late = 1, False

    async def put(self, key: str, data: objects_protocol.Data, *, content_type: str = "") -> ObjectStat:
        self.nth -= 1
        if self.nth == 0 and not self.late:
            raise Crash
        stored = await super().put(key, data, content_type=content_type)
        if self.nth == 0:
            raise Crash
        return stored


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("late", [False, True])
async def test_a_builder_killed_while_it_writes_objects_is_replaced(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    nth: int,
    late: bool,
) -> None:
    fill(fake)
    store = CrashingStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=SIGNING_KEY.encode())
    store.nth, store.late = nth, late
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target, objects=store) as first:
        await killed(first)
    assert (await idle.get(created.name)).state == DatasetVersion.STATE_BUILDING
    await replace_and_check(idle, created, settings, annotation_target, tmp_path)


@pytest.mark.parametrize("nth", range(1, 5))
@pytest.mark.parametrize("late", [False, True])
async def test_a_builder_killed_at_a_transaction_is_replaced(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    nth: int,
    late: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second transaction fixes the plan, the last one finishes; before a commit nothing of it is there."""
    fill(fake)
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as first:
        dying(first._db, nth, late=late, monkeypatch=monkeypatch)
        await killed(first)
    await replace_and_check(idle, created, settings, annotation_target, tmp_path)


def dying(db: Database, nth: int, *, late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process die inside the `nth` writing transaction of `db`, or right after its commit."""
    real, count = db.write, 0

    class Dying:
        def __init__(self) -> None:
            self._inner = real()

        async def __aenter__(self) -> Transaction:
            nonlocal count
            count += 1
            self._fatal = count == nth
            return await self._inner.__aenter__()

        async def __aexit__(self, *error: object) -> None:
            if self._fatal and not late:
                await self._inner.__aexit__(Crash, Crash(), None)
                raise Crash
            await self._inner.__aexit__(*error)  # type: ignore[arg-type]
            if self._fatal:
                raise Crash

    monkeypatch.setattr(db, "write", Dying)


async def killed(builder: Builder) -> None:
    with suppress(Crash):
        await builder.build_next()


async def replace_and_check(
    idle: Service, created: DatasetVersion, settings: DatasetSettings, annotation_target: str, folder: Path
) -> None:
    await let_leases_run_out(settings.database_url)
    async with building(folder, settings.database_url, annotation_target) as second:
        while await second.build_next():
            pass
    version = await complete(idle, created.name, folder / "blobs")
    assert version.version == 1


async def test_a_build_that_always_kills_its_builder_is_given_up(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    created = await idle.create()
    for _ in range(5):
        store = CrashingStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=SIGNING_KEY.encode())
        async with building(tmp_path, settings.database_url, annotation_target, objects=store) as builder:
            await killed(builder)
        await let_leases_run_out(settings.database_url)
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
    version = await idle.get(created.name)
    assert version.state == DatasetVersion.STATE_FAILED
    assert error_info(version.error).reason == "BUILD_CRASHED"


async def test_a_service_killed_again_and_again_ends_with_a_complete_version(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, tmp_path: Path
) -> None:
    fill(fake, 300)
    created = await idle.create()
    draw = random.Random(0)
    for pause in [draw.uniform(0, 0.4) for _ in range(4)] + [None]:
        streams = len(fake.streams)
        process = await serve_alone(settings)
        try:
            await until(lambda seen=streams: len(fake.streams) > seen)  # type: ignore[misc]
            if pause is None:
                await idle.finish(created.name)
            else:
                await asyncio.sleep(pause)
        finally:
            process.kill()
            await process.wait()
        if (await idle.get(created.name)).state == DatasetVersion.STATE_READY:
            break
    await complete(idle, created.name, tmp_path / "blobs", 300)


async def serve_alone(settings: DatasetSettings) -> asyncio.subprocess.Process:
    store = settings.object_store
    assert store.kind == "folder"
    environment = {
        "BLOOMERY_DATABASE_URL": settings.database_url,
        "BLOOMERY_OBJECT_STORE__KIND": "folder",
        "BLOOMERY_OBJECT_STORE__ROOT": str(store.root),
        "BLOOMERY_OBJECT_STORE__BASE_URL": store.base_url,
        "BLOOMERY_OBJECT_STORE__SIGNING_KEY": SIGNING_KEY,
        "BLOOMERY_TOKEN": TOKEN,
        "BLOOMERY_BIND": "127.0.0.1",
        "BLOOMERY_PORT": "0",
        "BLOOMERY_ANNOTATION_TARGET": settings.annotation_target,
        "BLOOMERY_CACHE_DIR": str(settings.cache_dir.parent / "alone"),
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bloomery_dataset", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
