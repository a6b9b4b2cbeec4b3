"""What nothing needs any more goes, and nothing else, whatever happens at the same time."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import (
    BlobInfo,
    CompleteUploadsRequest,
    DeleteAssetRequest,
    Import,
    PrepareUploadsRequest,
    Project,
)
from bloomery_annotation.blobs import DiskGuard, Uploads
from bloomery_annotation.contents import IN_DATABASE
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key, staging_key
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import projects
from bloomery_annotation.store.tables import IMPORT_FILES, IMPORTS
from bloomery_annotation.sweep import UNUSED_AGE, Sweeper
from bloomery_kit.database import Database
from bloomery_kit.objects import Content, ObjectStat, ObjectStore
from bloomery_kit.times import utc_now
from tests.annotation.folders import voc_folder
from tests.annotation.helpers import Server, digest_of, png

WEEK = UNUSED_AGE + timedelta(days=1)
SMALL = b"0 0.5 0.5 0.1 0.1"
TEXT = SMALL * (IN_DATABASE // len(SMALL) + 1)
"""Lies in the object store."""


@pytest.fixture
def both_settings(deployed_settings: AnnotationSettings) -> AnnotationSettings:
    return deployed_settings


@pytest.fixture
async def db(both_settings: AnnotationSettings) -> AsyncIterator[Database]:
    database = Database.connect(both_settings.database_url, "annotation")
    yield database
    await database.close()


def sweeper(db: Database, server: Server, age: timedelta = WEEK) -> Sweeper:
    return Sweeper(db, server.objects, lambda: utc_now() + age)


def info(content: bytes) -> BlobInfo:
    return BlobInfo(digest=digest_of(content), size_bytes=len(content))


async def has(server: Server, project: Project, *contents: bytes) -> list[bool]:
    """Which of the contents the project has, by its own word and by the bytes that lie there."""
    request = PrepareUploadsRequest(parent=project.name, blobs=map(info, contents))
    missing = {target.digest for target in (await server.stub.PrepareUploads(request)).missing}
    there = [await server.has_bytes(project, content) for content in contents]
    said = [digest_of(content) not in missing for content in contents]
    assert said == there
    return said


async def test_what_never_became_an_image_goes_after_a_week(both: Server, db: Database) -> None:
    project = await both.project()
    files = voc_folder(2)
    await both.run_import(project, files)
    (deleted,) = await both.assets(project, [png(7)])
    await both.stub.DeleteAsset(DeleteAssetRequest(name=deleted.name))
    await both.upload([TEXT], project)
    await both.upload([SMALL], project)
    everything = [*files.values(), png(7), TEXT, SMALL]
    await sweeper(db, both, timedelta(days=6)).sweep("p")
    assert await has(both, project, *everything) == [True] * 7
    await sweeper(db, both).sweep("p")
    assert await has(both, project, *everything) == [True, True, False, False, True, False, False]
    assert [one.asset_count for one in [await both.run_import(project, files)]] == [0], "it can be brought again"


async def test_whoever_asks_for_a_blob_spares_it(both: Server, db: Database) -> None:
    project = await both.project()
    await both.upload([TEXT, b"other"], project)
    uploads = Uploads(
        db, both.objects, DiskGuard(None, 0), url_seconds=60, at_once=2, clock=lambda: utc_now() + timedelta(days=6)
    )
    await uploads.prepare("p", [Blob(digest_of(TEXT), len(TEXT))])
    await sweeper(db, both).sweep("p")
    assert await has(both, project, TEXT, b"other") == [True, False]


async def test_an_import_that_runs_keeps_everything(both: Server, db: Database) -> None:
    project = await both.project()
    done = await both.run_import(project, {"a.png": png(1)})
    await both.upload([TEXT], project)

    async def set_state(state: str) -> None:
        async with db.write() as tx:
            await tx.execute(
                sa.update(IMPORTS).where(IMPORTS.c.uid == done.uid).values(state=state, project_uid=project.uid)
            )

    await both.app.loops.close()
    await set_state("running")
    await sweeper(db, both).sweep("p")
    assert await has(both, project, TEXT) == [True]
    await set_state("succeeded")
    await sweeper(db, both).sweep("p")
    assert await has(both, project, TEXT) == [False]


async def test_an_upload_that_meets_a_sweep_brings_its_bytes_again(
    both: Server, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    await both.upload([TEXT], project)
    sweep = sweeper(db, both)
    await sweep._mark(project_of(project))
    await both.objects.put(staging_key(project.uid, digest_of(TEXT)), TEXT)
    real = type(both.objects).put

    async def put(store: ObjectStore, key: str, *args: Any, **kwargs: Any) -> ObjectStat:
        stat = await real(store, key, *args, **kwargs)
        # After the bytes lie there, and before they are recorded.
        await remove(sweep, project)
        return stat

    monkeypatch.setattr(type(both.objects), "put", put)
    answer = await both.stub.CompleteUploads(CompleteUploadsRequest(parent=project.name, blobs=[info(TEXT)]))
    assert answer.results[0].status.code == 0
    assert await has(both, project, TEXT) == [True]


async def test_what_a_sweep_marked_may_be_brought_before_it_goes(both: Server, db: Database) -> None:
    project = await both.project()
    await both.upload([TEXT], project)
    sweep = sweeper(db, both)
    await sweep._mark(project_of(project))
    await both.upload([TEXT], project)
    await remove(sweep, project)
    assert await has(both, project, TEXT) == [True]


async def test_a_sweep_that_dies_is_gone_on_with(both: Server, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    project = await both.project()
    contents = [str(number).encode() for number in range(5)]
    await both.upload(contents, project)
    real = type(both.objects).delete

    async def delete(store: ObjectStore, key: str) -> None:
        if key == blob_key(project.uid, digest_of(contents[2])):
            raise ZeroDivisionError
        await real(store, key)

    with monkeypatch.context() as patched:
        patched.setattr(type(both.objects), "delete", delete)
        with pytest.raises(ZeroDivisionError):
            await sweeper(db, both).sweep("p")
    await both.upload(contents[:2], project)
    assert await has(both, project, *contents[:2]) == [True, True]
    await sweeper(db, both, timedelta()).sweep("p")
    assert await has(both, project, *contents) == [True, True, False, False, False]


async def test_an_upload_that_meets_a_sweep_that_dies_brings_its_bytes_again(
    both: Server, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    await both.upload([TEXT], project)
    sweep = sweeper(db, both)
    await sweep._mark(project_of(project))
    await both.objects.put(staging_key(project.uid, digest_of(TEXT)), TEXT)
    real = type(both.objects).put

    async def put(store: ObjectStore, key: str, *args: Any, **kwargs: Any) -> ObjectStat:
        stat = await real(store, key, *args, **kwargs)
        with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
            # The process dies after the bytes went, and before the transaction ended.
            patched.setattr("bloomery_annotation.store.blobs.drop", die)
            await remove(sweep, project)
        monkeypatch.setattr(type(both.objects), "put", real)
        return stat

    async def die(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(both.objects), "put", put)
    answer = await both.stub.CompleteUploads(CompleteUploadsRequest(parent=project.name, blobs=[info(TEXT)]))
    assert answer.results[0].status.code == 0
    assert await has(both, project, TEXT) == [True]


async def test_what_cannot_be_removed_does_not_keep_the_others(
    both: Server, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.sweep._AT_ONCE", 2)
    project = await both.project()
    contents = sorted((str(number).encode() for number in range(6)), key=digest_of)
    await both.upload(contents, project)
    real = type(both.objects).delete

    async def delete(store: ObjectStore, key: str) -> None:
        if key in [blob_key(project.uid, digest_of(content)) for content in contents[:2]]:
            raise ZeroDivisionError
        await real(store, key)

    with monkeypatch.context() as patched:
        patched.setattr(type(both.objects), "delete", delete)
        with pytest.raises(ZeroDivisionError):
            await sweeper(db, both).sweep("p")
    assert [await both.has_bytes(project, content) for content in contents] == [True] * 2 + [False] * 4


async def test_a_removal_that_takes_long_takes_nothing_that_is_brought_meanwhile(
    both: Server, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the database, which ends transactions that are silent for long, is told that this one is not."""
    monkeypatch.setattr("bloomery_annotation.sweep._SECONDS", 0.01)
    project = await both.project()
    await both.upload([TEXT], project)
    real, may_end, said = type(both.objects).delete, asyncio.Event(), list[str]()

    async def delete(store: ObjectStore, key: str) -> None:
        if key == blob_key(project.uid, digest_of(TEXT)):
            said.clear()
            await may_end.wait()
        await real(store, key)

    monkeypatch.setattr(type(both.objects), "delete", delete)
    sa.event.listen(db._writing_engine.sync_engine, "before_cursor_execute", lambda *call: said.append(call[2]))
    sweeping = asyncio.create_task(sweeper(db, both).sweep("p"))
    async with asyncio.timeout(20):
        while said[-2:] != ["SELECT 1", "SELECT 1"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    bringing = await upload_begun(both, project, monkeypatch)
    may_end.set()
    await asyncio.gather(sweeping, bringing)
    assert await has(both, project, TEXT) == [True]


async def test_a_sweep_that_is_called_off_lets_nobody_in_before_what_it_removes_is_gone(
    both: Server, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    await both.upload([TEXT], project)
    real, begun, may_end = type(both.objects).delete, asyncio.Event(), asyncio.Event()

    async def delete(store: ObjectStore, key: str) -> None:
        if key == blob_key(project.uid, digest_of(TEXT)):
            begun.set()
            await may_end.wait()
        await real(store, key)

    monkeypatch.setattr(type(both.objects), "delete", delete)
    sweeping = asyncio.create_task(sweeper(db, both).sweep("p"))
    await asyncio.wait_for(begun.wait(), 20)
    sweeping.cancel()
    bringing = await upload_begun(both, project, monkeypatch)
    may_end.set()
    await asyncio.gather(sweeping, bringing, return_exceptions=True)
    assert sweeping.cancelled()
    assert not bringing.exception()
    assert await has(both, project, TEXT) == [True]


async def test_a_sweep_that_finds_nothing_left_disturbs_no_upload(both: Server, db: Database) -> None:
    project = await both.project()
    await both.upload([TEXT], project)
    first, second = sweeper(db, both), sweeper(db, both)
    await first._mark(project_of(project))
    sweeps = await asyncio.gather(*(sweep._remove(project_of(project), "", []) for sweep in (first, second)))
    assert sorted(map(bool, sweeps)) == [False, True]
    async with db.read() as tx:
        assert (await projects.find(tx, "p")).sweeps == 1


async def test_a_project_is_looked_at_part_by_part(both: Server, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_annotation.sweep._LOOKED_AT", 2)
    project = await both.project()
    contents = [str(number).encode() for number in range(5)]
    await both.upload(contents, project)
    sweep = sweeper(db, both)
    left = []
    for _ in range(3):
        await sweep.sweep("p")
        left.append(sum(await has(both, project, *contents)))
    assert left == [3, 1, 0]


async def test_names_of_files_go_with_the_end_of_their_import(both: Server, db: Database) -> None:
    project = await both.project()
    done = await both.run_import(project, voc_folder(3))
    assert done.state == Import.STATE_SUCCEEDED
    await Housekeeper(db, both.objects, url_seconds=60).tidy()
    async with db.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(IMPORT_FILES)) == 0


async def upload_begun(both: Server, project: Project, monkeypatch: pytest.MonkeyPatch) -> asyncio.Task[list[str]]:
    """An upload of the text that has put its bytes, and has ended unless something is in its way."""
    put_all, brought = type(both.objects).put_all, asyncio.Event()

    async def put(store: ObjectStore, blobs: Mapping[str, Content]) -> None:
        await put_all(store, blobs)
        brought.set()

    monkeypatch.setattr(type(both.objects), "put_all", put)
    bringing = asyncio.create_task(both.upload([TEXT], project))
    await brought.wait()
    # On a slower machine an upload that nothing holds up looks as if something did, never the reverse.
    await asyncio.wait([bringing], timeout=0.3)
    return bringing


async def remove(sweep: Sweeper, project: Project) -> None:
    """Remove what is marked."""
    while await sweep._remove(project_of(project), "", []):
        pass


def project_of(message: Project) -> Any:
    from bloomery_annotation.model import Project as ProjectValue

    return ProjectValue("p", message.uid, "p", {}, utc_now(), utc_now())
