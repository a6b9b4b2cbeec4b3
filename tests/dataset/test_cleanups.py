"""What deleted, failed and interrupted builds leave behind: nothing."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetVersion, DeleteDatasetVersionRequest
from bloomery_dataset.annotations import Annotations
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.model import ExportFormat
from bloomery_dataset.settings import DatasetSettings
from bloomery_dataset.store import versions
from bloomery_kit.errors import NotFound
from bloomery_kit.objects import FolderObjectStore, ObjectStat
from bloomery_kit.objects import _protocol as objects_protocol
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import (
    SIGNING_KEY,
    Crash,
    Service,
    box,
    building,
    let_leases_run_out,
)

Hook = Callable[[], Awaitable[None]]


@pytest.fixture
def settings(both_settings: DatasetSettings) -> DatasetSettings:
    return both_settings


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


class HookedStore(FolderObjectStore):
    """Does something before and after an object is put."""

    before: Hook | None = None
    after: Hook | None = None

    async def put(self, key: str, data: objects_protocol.Data, *, content_type: str = "") -> ObjectStat:
        if self.before:
            await self.before()
        stored = await super().put(key, data, content_type=content_type)
        if self.after:
            await self.after()
        return stored


def hooked(folder: Path) -> HookedStore:
    return HookedStore(folder / "blobs", base_url="http://127.0.0.1:1", signing_key=SIGNING_KEY.encode())


async def crash() -> None:
    raise Crash


def deletion(idle: Service, version: DatasetVersion, housekeeper: Housekeeper) -> Hook:
    """Delete a version and clean up, once."""
    done = False

    async def delete() -> None:
        nonlocal done
        if not done:
            done = True
            await idle.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name))
            await housekeeper.tidy()

    return delete


async def test_a_version_deleted_right_after_its_build_holds_its_project_no_longer(
    idle: Service,
    fake: FakeAnnotations,
    housekeeper: Housekeeper,
    any_database_url: str,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the builder still does once its version is there comes after the deletion."""
    fake.add(1, [box()])
    created = await idle.create()
    delete, hold, held = deletion(idle, created, housekeeper), Annotations.hold, 0

    async def late(self: Annotations, project: str, holder: str, title: str, *, uid: str) -> None:
        nonlocal held
        held += 1
        if held > 1:
            await delete()
        await hold(self, project, holder, title, uid=uid)

    monkeypatch.setattr(Annotations, "hold", late)
    async with building(tmp_path, any_database_url, annotation_target) as builder:
        assert await builder.build_next()
    await delete()
    assert not fake.of_versions
    assert set(fake.titles.values()) == {"datasets/cells-v"}


async def test_a_project_held_by_a_builder_that_dies_after_its_version_was_deleted_is_released(
    idle: Service,
    fake: FakeAnnotations,
    housekeeper: Housekeeper,
    later: Housekeeper,
    any_database_url: str,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.add(1, [box()])
    created = await idle.create()
    delete, hold = deletion(idle, created, housekeeper), Annotations.hold

    async def dying(self: Annotations, project: str, holder: str, title: str, *, uid: str) -> None:
        await delete()
        await hold(self, project, holder, title, uid=uid)
        raise Crash

    monkeypatch.setattr(Annotations, "hold", dying)
    async with building(tmp_path, any_database_url, annotation_target) as builder:
        with suppress(Crash):
            await builder.build_next()
    await housekeeper.tidy()
    assert fake.of_versions, "nothing was left to be given up, so this test shows nothing"
    await later.tidy()
    assert not fake.of_versions


async def test_objects_of_a_builder_that_dies_after_its_version_was_deleted_are_deleted(
    idle: Service,
    fake: FakeAnnotations,
    housekeeper: Housekeeper,
    later: Housekeeper,
    any_database_url: str,
    annotation_target: str,
    tmp_path: Path,
) -> None:
    fake.add(1, [box()])
    store = hooked(tmp_path)
    store.before, store.after = deletion(idle, await idle.create(), housekeeper), crash
    async with building(tmp_path, any_database_url, annotation_target, objects=store) as builder:
        with suppress(Crash):
            await builder.build_next()
    assert files(tmp_path)
    await later.tidy()
    assert not files(tmp_path)
    assert not fake.of_versions


async def test_a_build_that_is_done_again_leaves_no_objects_of_the_first_try(
    idle: Service, fake: FakeAnnotations, any_database_url: str, annotation_target: str, tmp_path: Path
) -> None:
    fake.add(1, [box()])
    created = await idle.create()
    store = hooked(tmp_path)
    store.after = crash
    async with building(tmp_path, any_database_url, annotation_target, objects=store) as builder:
        with suppress(Crash):
            await builder.build_next()
    assert files(tmp_path)
    await let_leases_run_out(any_database_url)
    async with building(tmp_path, any_database_url, annotation_target) as builder:
        assert await builder.build_next()
    assert (await idle.get(created.name)).state == DatasetVersion.STATE_READY
    assert len(files(tmp_path)) == 2, "the index and its shard"


@pytest.mark.parametrize("dies", [False, True])
async def test_an_export_of_a_version_that_is_deleted_meanwhile_leaves_nothing(
    idle: Service,
    fake: FakeAnnotations,
    housekeeper: Housekeeper,
    later: Housekeeper,
    any_database_url: str,
    annotation_target: str,
    tmp_path: Path,
    dies: bool,
) -> None:
    fake.add(1, [box()])
    created = await idle.create()
    async with building(tmp_path, any_database_url, annotation_target) as builder:
        assert await builder.build_next()
    version = await idle.get(created.name)
    store = hooked(tmp_path)
    store.before, store.after = deletion(idle, version, housekeeper), crash if dies else None
    exporter = idle.app._exporter
    exporter._objects = store
    async with idle.app._db.read() as tx:
        exported = await versions.by_uid(tx, version.uid)
    with pytest.raises((Crash, NotFound)):
        await exporter.export(exported, ExportFormat.COCO)
    assert files(tmp_path)
    await (later if dies else housekeeper).tidy()
    assert not files(tmp_path)
    assert not fake.of_versions


async def test_what_is_left_behind_during_the_last_cleanup_is_cleaned_up_too(
    idle: Service, housekeeper: Housekeeper, later: Housekeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await idle.create()
    async with idle.app._db.read() as tx:
        version = await versions.by_uid(tx, created.uid)
    await deletion(idle, created, housekeeper)()
    release = Annotations.release

    async def late(self: Annotations, project: str, holder: str) -> None:
        await release(self, project, holder)
        monkeypatch.undo()
        await hooked(tmp_path).put(f"{version.prefix}/exports/late.zip", b"of an export that has just ended")
        async with idle.app._db.write() as tx:
            await versions.leave_cleanup(tx, version)

    monkeypatch.setattr(Annotations, "release", late)
    await later.tidy()
    assert files(tmp_path), "nothing was left behind, so this test shows nothing"
    await later.tidy()
    assert not files(tmp_path)
