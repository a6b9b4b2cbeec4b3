"""Builds that are cut, robbed, edited under and starved: a version is complete, or it is not READY."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import StreamAnnotationSetsResponse
from bloomery.dataset.v1 import DatasetVersion, DeleteDatasetVersionRequest, WatchDatasetVersionRequest
from bloomery_dataset.annotations import Annotations
from bloomery_dataset.app import SCHEMA
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.store import builds
from bloomery_dataset.store.tables import VERSIONS
from bloomery_kit.database import Database
from bloomery_kit.errors import ResourceExhausted, Unavailable, error_info
from bloomery_kit.objects import FolderObjectStore, ObjectStat
from bloomery_kit.objects import _protocol as objects_protocol
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import (
    SIGNING_KEY,
    Service,
    box,
    building,
    complete,
    fill,
    let_leases_run_out,
    rows_of,
    until,
)


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


async def test_a_watch_sees_a_build_make_progress(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target, lease=0.3) as builder:
        at_work = asyncio.create_task(builder.build_next())
        await fake.reached_gate.wait()
        async with asyncio.timeout(50):
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


async def test_a_build_that_is_done_is_kept_until_the_database_is_back(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(fake)
    created = await idle.create()
    away(monkeypatch, "finish", *[Unavailable("DATABASE_UNAVAILABLE", "away")] * 2)
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
    await complete(idle, created.name, tmp_path / "blobs")
    assert len(fake.streams) == 1


async def test_a_store_that_is_away_for_a_moment_costs_no_build(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    class AwayStore(FolderObjectStore):
        refusals = 2

        async def put(self, key: str, data: objects_protocol.Data, *, content_type: str = "") -> ObjectStat:
            if self.refusals:
                self.refusals -= 1
                raise Unavailable("OBJECT_STORE_UNAVAILABLE", "away")
            return await super().put(key, data, content_type=content_type)

    fill(fake)
    store = AwayStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=SIGNING_KEY.encode())
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target, objects=store) as builder:
        assert await builder.build_next()
    await complete(idle, created.name, tmp_path / "blobs")
    assert (store.refusals, len(fake.streams)) == (0, 1)


async def test_a_build_that_fails_while_the_database_is_away_says_why_afterwards(
    idle: Service, settings: DatasetSettings, annotation_target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await idle.create()
    away(monkeypatch, "fail", ResourceExhausted("DISK_FULL", "full"))
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
    version = await idle.get(created.name)
    assert (version.state, error_info(version.error).reason) == (DatasetVersion.STATE_FAILED, "NO_USABLE_IMAGES")


async def test_a_build_that_is_given_back_while_the_database_is_away_has_not_crashed(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    created = await idle.create()
    fake.down = True
    away(monkeypatch, "release", Unavailable("DATABASE_UNAVAILABLE", "away"))
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
    assert await tries(settings, created.uid) == 0


async def test_a_builder_that_stops_while_the_database_is_away_has_not_crashed(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(fake)
    fake.gate = asyncio.Event()
    created = await idle.create()
    away(monkeypatch, "release", Unavailable("DATABASE_UNAVAILABLE", "away"))
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        at_work = asyncio.create_task(builder.build_next())
        await fake.reached_gate.wait()
        assert await tries(settings, created.uid) == 1
        at_work.cancel()
        await asyncio.gather(at_work, return_exceptions=True)
    assert await tries(settings, created.uid) == 0


async def test_a_builder_that_lost_its_build_in_an_outage_has_not_crashed(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await idle.create()
    async with (
        building(tmp_path, settings.database_url, annotation_target) as first,
        building(tmp_path, settings.database_url, annotation_target) as second,
    ):
        at_work = asyncio.create_task(first.build_next())
        await fake.reached_gate.wait()
        await let_leases_run_out(settings.database_url)
        assert await second._claim()
        gate.set()
        assert await at_work
    assert await tries(settings, created.uid) == 1, "only the second one's counts"


def away(monkeypatch: pytest.MonkeyPatch, step: str, *outages: Exception) -> None:
    """Let the next tries of a step of builds meet these."""
    left, real = list(outages), getattr(builds, step)

    async def meet(*given: object, **named: object) -> object:
        if left:
            raise left.pop()
        return await real(*given, **named)

    monkeypatch.setattr(builds, step, meet)


async def tries(settings: DatasetSettings, uid: str) -> int:
    """How many tries of a build are counted."""
    db = Database.connect(settings.database_url, SCHEMA)
    async with db.read() as tx:
        found: int | None = await tx.scalar(sa.select(VERSIONS.c.attempts).where(VERSIONS.c.uid == uid))
    await db.close()
    assert found is not None
    return found


class OneMessage:
    """A stream that says one thing when it is asked to."""

    def __init__(self) -> None:
        self.come = asyncio.Event()

    def StreamAnnotationSets(self, _request: object) -> "OneMessage":
        return self

    def __aiter__(self) -> "OneMessage":
        return self

    async def __anext__(self) -> StreamAnnotationSetsResponse:
        await self.come.wait()
        self.come.clear()
        return StreamAnnotationSetsResponse()

    def cancel(self) -> None:
        pass


@pytest.mark.parametrize("ticks", range(8))
async def test_a_stop_that_comes_with_a_message_is_not_lost(ticks: int) -> None:
    stream = OneMessage()

    async def read() -> None:
        async for _ in Annotations(stream).images("p", 1):  # type: ignore[arg-type]
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    stream.come.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    reading.cancel()
    done, _ = await asyncio.wait({reading}, timeout=1)
    assert [task.cancelled() for task in done] == [True]


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


async def test_a_build_that_is_taken_up_again_holds_no_other_project(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    fake.silent = True
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        builder._sources.annotations._idle_seconds = 0.05
        assert await builder.build_next()
        assert (await idle.get(created.name)).item_count == 20
        fake.silent = False
        fake.holders.clear()
        fake.use_id_again()
        await let_leases_run_out(settings.database_url)
        assert await builder.build_next()
    version = await idle.get(created.name)
    assert (version.state, error_info(version.error).reason) == (DatasetVersion.STATE_FAILED, "NOT_FOUND")
    assert not fake.of_versions


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
