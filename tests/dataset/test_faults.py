"""Builds that are cut, robbed, edited under and starved: a version is complete, or it is not READY."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetVersion, DeleteDatasetVersionRequest, WatchDatasetVersionRequest
from bloomery_dataset.builder import Builder
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import ResourceExhausted, Unavailable, error_info
from bloomery_kit.objects import FolderObjectStore, ObjectStat
from bloomery_kit.objects import _protocol as objects_protocol
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import (
    SIGNING_KEY,
    TOKEN,
    Crash,
    Service,
    box,
    building,
    let_leases_run_out,
    rows_of,
    serving,
    settings_for,
    until,
)


@pytest.fixture
async def idle(settings: DatasetSettings) -> AsyncIterator[Service]:
    """A service that takes requests and builds nothing."""
    async with serving(settings, start=False) as running:
        yield running


def fill(fake: FakeAnnotations, count: int = 20) -> None:
    for number in range(count):
        fake.add(number, [box("rbc", number), box("wbc")])


async def complete(service: Service, name: str, blobs: Path, count: int = 20) -> DatasetVersion:
    version = await service.get(name)
    assert version.state == DatasetVersion.STATE_READY
    rows = await rows_of(version, blobs)
    assert len(rows) == len({row.asset for row in rows}) == count
    assert all(len(row.shapes) == 2 for row in rows)
    return version


async def test_a_stream_that_breaks_goes_on_where_it_was(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fill(fake)
    fake.break_after = [1, 0, 2, 0, 0]
    version = await service.build()
    await complete(service, version.name, tmp_path / "blobs")
    assert len(fake.streams) == 6
    assert {stream.read_sequence for stream in fake.streams} == {version.read_sequence}
    assert fake.streams[-1].after > fake.streams[1].after > fake.streams[0].after == ""


async def test_edits_during_a_build_are_of_the_next_version(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await service.create()
    await fake.reached_gate.wait()
    for asset in list(fake.assets):
        fake.edit(asset, [box("platelets")])
    fake.add(99, [box()])
    gate.set()

    first = await service.finish(created.name)

    await complete(service, first.name, tmp_path / "blobs")
    second = await service.build()
    rows = await rows_of(second, tmp_path / "blobs")
    assert sorted(shape.label for row in rows for shape in row.shapes) == ["Platelets"] * 20 + ["RBC"]


async def test_a_resumed_build_reads_the_moment_of_the_first_try(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    fake.gate = asyncio.Event()
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        task = asyncio.create_task(builder.build_next())
        await fake.reached_gate.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        fake.gate.set()
        fake.edit(next(iter(fake.assets)), [])
        assert await builder.build_next(), "a builder that is told to stop gives its build back at once"
    await complete(idle, created.name, tmp_path / "blobs")


async def test_a_neighbour_that_is_down_delays_a_build_and_does_not_fail_it(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    created = await idle.create()
    fake.down = True
    # More often than a build may crash.
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        for _ in range(7):
            assert await builder.build_next()
            assert not await builder.build_next(), "it rests before it is tried again"
            assert (await idle.get(created.name)).state == DatasetVersion.STATE_BUILDING
            await let_leases_run_out(settings.database_url)
        fake.down = False
        assert await builder.build_next()
    await complete(idle, created.name, tmp_path / "blobs")


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


async def test_replicas_build_each_version_once(
    any_database_url: str, fake: FakeAnnotations, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake, 9)
    settings = settings_for(tmp_path, any_database_url, annotation_target)
    async with serving(settings, start=False) as idle:
        names = [(await idle.create(parent=f"projects/cells/datasets/d{number % 3}")).name for number in range(6)]

        async def replica() -> int:
            built = 0
            async with building(tmp_path, any_database_url, annotation_target) as builder:
                while await builder.build_next():
                    built += 1
            return built

        assert sum(await asyncio.gather(*(replica() for _ in range(3)))) == 6
        versions = [await complete(idle, name, tmp_path / "blobs", 9) for name in names]
    assert len(fake.streams) == 6
    assert [version.version for version in versions] == [1] * 6
    assert sum(version.reused for version in versions) == 3, "of two equal builds at once, one is the version"


async def test_a_builder_that_slept_through_its_lease_changes_nothing(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def asleep_as_well(*_: object) -> None:
        await asyncio.Event().wait()

    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as sleeper:
        monkeypatch.setattr(sleeper, "_keep", asleep_as_well)
        asleep = asyncio.create_task(sleeper.build_next())
        await fake.reached_gate.wait()
        fake.gate = None
        await let_leases_run_out(settings.database_url)
        async with building(tmp_path, settings.database_url, annotation_target) as second:
            assert await second.build_next()
        ready = await complete(idle, created.name, tmp_path / "blobs")
        gate.set()
        await asleep
    assert await idle.get(created.name) == ready


async def test_a_builder_that_slept_cannot_finish_what_another_one_builds(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def asleep_as_well(*_: object) -> None:
        await asyncio.Event().wait()

    fill(fake)
    created = await idle.create()
    async with (
        building(tmp_path, settings.database_url, annotation_target) as sleeper,
        building(tmp_path, settings.database_url, annotation_target) as second,
    ):
        monkeypatch.setattr(sleeper, "_keep", asleep_as_well)
        first_gate = fake.gate = asyncio.Event()
        asleep = asyncio.create_task(sleeper.build_next())
        await fake.reached_gate.wait()
        await let_leases_run_out(settings.database_url)
        second_gate, fake.reached_gate = asyncio.Event(), asyncio.Event()
        fake.gate = second_gate
        awake = asyncio.create_task(second.build_next())
        await fake.reached_gate.wait()
        first_gate.set()
        await asleep
        assert (await idle.get(created.name)).state == DatasetVersion.STATE_BUILDING
        second_gate.set()
        await awake
    await complete(idle, created.name, tmp_path / "blobs")


async def test_a_build_longer_than_its_lease_stays_with_its_builder(
    any_database_url: str, fake: FakeAnnotations, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    settings = settings_for(tmp_path, any_database_url, annotation_target)
    async with serving(settings, start=False) as idle:
        created = await idle.create()
        async with (
            building(tmp_path, any_database_url, annotation_target, lease=2.0) as first,
            building(tmp_path, any_database_url, annotation_target, lease=2.0) as second,
        ):
            at_work = asyncio.create_task(first.build_next())
            await fake.reached_gate.wait()
            for _ in range(10):
                assert not await second.build_next(), "it has been given away while its builder lives"
                await asyncio.sleep(0.3)
            gate.set()
            assert await at_work
        await complete(idle, created.name, tmp_path / "blobs")
    assert len(fake.streams) == 1


async def test_a_watch_sees_a_build_make_progress(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target, lease=0.3) as builder:
        at_work = asyncio.create_task(builder.build_next())
        await fake.reached_gate.wait()
        async with asyncio.timeout(10):
            async for state in idle.stub.WatchDatasetVersion(WatchDatasetVersionRequest(name=created.name)):
                if state.done_count:
                    break
        gate.set()
        assert await at_work


async def test_a_database_that_is_away_for_a_moment_costs_no_build(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await idle.create()
    refused = asyncio.Event()
    async with building(tmp_path, settings.database_url, annotation_target, lease=3.0) as builder:
        at_work = asyncio.create_task(builder.build_next())
        await fake.reached_gate.wait()

        def away() -> None:
            refused.set()
            raise Unavailable("DATABASE_UNAVAILABLE", "away")

        with monkeypatch.context() as patch:
            patch.setattr(builder._db, "write", away)
            await refused.wait()
        gate.set()
        assert await at_work
    await complete(idle, created.name, tmp_path / "blobs")
    assert len(fake.streams) == 1


async def test_a_neighbour_that_falls_silent_delays_a_build_and_does_not_fail_it(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    fake.silent = True
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        builder._sources.annotations._idle_seconds = 0.05
        assert await builder.build_next()
        assert (await idle.get(created.name)).state == DatasetVersion.STATE_BUILDING
        fake.silent = False
        await let_leases_run_out(settings.database_url)
        assert await builder.build_next()
    await complete(idle, created.name, tmp_path / "blobs")


async def test_a_project_made_again_under_its_id_is_not_built_from(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    created = await idle.create()
    fake.uid = "f" * 32
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
    version = await idle.get(created.name)
    assert (version.state, error_info(version.error).reason) == (DatasetVersion.STATE_FAILED, "NOT_FOUND")
    assert "used again" in version.error.message


async def test_a_version_deleted_while_it_is_built_leaves_nothing(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await service.create()
    await fake.reached_gate.wait()
    await service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=created.name))
    gate.set()
    await until(
        lambda: not fake.of_versions and not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    )
    fake.gate = None
    assert (await service.build()).version == 1


async def test_a_full_store_fails_the_build_with_that_reason(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    class FullStore(FolderObjectStore):
        async def put(self, key: str, data: objects_protocol.Data, *, content_type: str = "") -> ObjectStat:
            raise ResourceExhausted("DISK_FULL", "the blob folder has no space left; free some and repeat")

    fill(fake)
    store = FullStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=SIGNING_KEY.encode())
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target, objects=store) as builder:
        assert await builder.build_next()
        assert not await builder.build_next()
    version = await idle.get(created.name)
    assert (version.state, error_info(version.error).reason) == (DatasetVersion.STATE_FAILED, "DISK_FULL")


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
