"""Small blobs travel many in a call: each is checked on its own, and what is acknowledged is kept."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from bloomery.annotation.v1 import BlobContent, DeleteProjectRequest, Import, Project, UploadBlobsRequest
from bloomery_annotation.blobs import DiskGuard, Uploads
from bloomery_annotation.contents import IN_DATABASE
from bloomery_annotation.names import blob_key
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import projects
from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable
from bloomery_kit.objects import Content, FolderObjectStore, ObjectStore
from tests.annotation.helpers import Server, digest_of, fields_of, png, reason_of, serving, status_of
from tests.annotation.test_import_plans import yolo


def content(data: bytes) -> BlobContent:
    return BlobContent(digest=digest_of(data), content=data)


async def send(server: Server, *blobs: BlobContent) -> list[str]:
    """The reason at each item, empty where it is kept."""
    answer = await server.stub.UploadBlobs(UploadBlobsRequest(parent="projects/p", blobs=blobs))
    assert [result.digest for result in answer.results] == [blob.digest for blob in blobs]
    return [reason_of(result.status) if result.status.code else "" for result in answer.results]


async def held(server: Server, project: Project) -> set[str]:
    return {stat.key async for stat in server.objects.list(f"{project.uid}/")}


async def test_what_is_sent_is_kept_and_can_be_imported(both: Server) -> None:
    project = await both.project()
    files = yolo()
    assert set(await send(both, *map(content, files.values()))) == {""}
    assert [await both.has_bytes(project, data) for data in files.values()] == [True] * len(files)
    done = await both.run_import(project, files)
    assert (done.state, done.asset_count, done.outcomes.annotated) == (Import.STATE_SUCCEEDED, 2, 1)
    assert set(await send(both, *map(content, files.values()))) == {""}, "again"


async def test_each_blob_is_checked_on_its_own(server: Server, project: Project) -> None:
    lie = BlobContent(digest=digest_of(b"announced"), content=b"something else")
    assert await send(server, content(png(1)), lie, content(b""), content(png(1))) == ["", "DIGEST_MISMATCH", "", ""]
    contents = (png(1), b"", b"something else")
    assert [await server.has_bytes(project, data) for data in contents] == [True, True, False]


async def test_an_import_of_label_files_asks_the_object_store_for_its_images_only(
    both: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, files, asked = await both.project(), yolo(), list[str]()
    images = {name: data for name, data in files.items() if name.endswith(".png")}

    real = type(both.objects).put_all

    async def put_all(store: ObjectStore, blobs: Mapping[str, Content]) -> None:
        asked.extend(blobs)
        await real(store, blobs)

    async def get_all(_: ObjectStore, keys: Collection[str]) -> Mapping[str, bytes]:
        raise AssertionError(keys)

    monkeypatch.setattr(type(both.objects), "put_all", put_all)
    monkeypatch.setattr(type(both.objects), "get_all", get_all)
    done = await both.run_import(project, files)
    assert (done.state, done.outcomes.annotated) == (Import.STATE_SUCCEEDED, 1)
    assert sorted(asked) == sorted(blob_key(project.uid, digest_of(data)) for data in images.values())


@pytest.mark.parametrize("size", [IN_DATABASE, IN_DATABASE + 1])
async def test_label_files_of_any_size_are_read_where_they_lie(both: Server, size: int) -> None:
    project = await both.project()
    files = {name: data.ljust(size) if name.startswith("labels") else data for name, data in yolo().items()}
    done = await both.run_import(project, files)
    assert (done.state, done.outcomes.annotated) == (Import.STATE_SUCCEEDED, 1)
    in_store = {blob_key(project.uid, digest_of(data)) for name, data in files.items() if name.startswith("labels")}
    assert in_store.isdisjoint(await held(both, project)) == (size == IN_DATABASE)


async def test_label_files_that_were_stored_as_objects_before_are_still_read(
    both: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, files = await both.project(), yolo()
    with monkeypatch.context() as before:
        before.setattr("bloomery_annotation.blobs.is_row", lambda _: False)
        await both.upload(list(files.values()), project)
    assert len(await held(both, project)) == len(set(files.values()))
    done = await both.run_import(project, files)
    assert (done.state, done.outcomes.annotated) == (Import.STATE_SUCCEEDED, 1)


async def test_what_cannot_be_a_bundle_is_refused_as_a_whole(server: Server, project: Project) -> None:
    half = bytes(5 << 20)
    wrong = [BlobContent(digest="sha256:abc", content=b"x"), content(half), content(half + b"x")]
    status = await status_of(send(server, *wrong))
    assert fields_of(status) == ["blobs[0].digest", "blobs"]
    assert await held(server, project) == set()


async def test_a_full_disk_is_said(settings: AnnotationSettings) -> None:
    async with serving(settings.model_copy(update={"reserved_bytes": 1 << 60})) as server:
        await server.project()
        assert reason_of(await status_of(send(server, content(png(1))))) == "DISK_LOW"


async def test_one_bundle_sent_by_many_at_once_is_kept(server: Server, project: Project) -> None:
    bundle = [content(png(seed)) for seed in range(5)]
    assert await asyncio.gather(*(send(server, *bundle) for _ in range(6))) == [[""] * 5] * 6
    assert len(await held(server, project)) == 5


@pytest.mark.parametrize("after", [False, True])
async def test_nothing_is_acknowledged_that_the_store_has_not_got(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    real = FolderObjectStore.put_all

    async def breaking(store: FolderObjectStore, blobs: Mapping[str, Content]) -> None:
        await real(store, blobs if after else dict(list(blobs.items())[:1]))
        raise Unavailable("OBJECT_STORE_UNAVAILABLE", "gone")

    with monkeypatch.context() as patched:
        patched.setattr(FolderObjectStore, "put_all", breaking)
        status = await status_of(send(server, content(png(1)), content(png(2))))
        assert reason_of(status) == "OBJECT_STORE_UNAVAILABLE"
    assert await send(server, content(png(1)), content(png(2))) == ["", ""]
    assert len(await held(server, project)) == 2


async def test_a_bundle_for_a_project_that_was_made_again_meanwhile_is_not_recorded(
    both: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    real = FolderObjectStore.put_all

    async def put_all(store: FolderObjectStore, blobs: Mapping[str, Content]) -> None:
        await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))
        await both.project()
        await real(store, blobs)

    monkeypatch.setattr(FolderObjectStore, "put_all", put_all)
    assert reason_of(await status_of(send(both, content(png(1))))) == "NOT_FOUND"


async def test_blobs_that_are_collected_while_they_are_sent_are_put_again(
    server: Server, project: Project, settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep between the write and the record may have removed what was just written."""
    db = Database.connect(settings.database_url)
    uploads = Uploads(db, server.objects, DiskGuard(None, 0), url_seconds=60, at_once=2)
    real, puts = FolderObjectStore.put_all, []

    async def put_all(store: FolderObjectStore, blobs: Mapping[str, Content]) -> None:
        await real(store, blobs)
        puts.append(list(blobs))
        if len(puts) == 1:
            async with db.write() as tx:
                await projects.count_sweep(tx, await projects.lock(tx, "p"))
            for key in blobs:
                await store.delete(key)

    monkeypatch.setattr(FolderObjectStore, "put_all", put_all)
    assert await uploads.take("p", [(digest_of(png(1)), png(1))]) == [None]
    await db.close()
    assert len(puts) == 2
    assert await server.objects.get(blob_key(project.uid, digest_of(png(1)))) == png(1)


async def test_bundles_count_among_what_is_checked_at_once(
    server: Server, project: Project, settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = Database.connect(settings.database_url)
    uploads = Uploads(db, server.objects, DiskGuard(None, 0), url_seconds=60, at_once=2)
    real, under_way, most = FolderObjectStore.put_all, 0, 0

    async def put_all(store: FolderObjectStore, blobs: Mapping[str, Content]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        await real(store, blobs)
        under_way -= 1

    monkeypatch.setattr(FolderObjectStore, "put_all", put_all)
    await asyncio.gather(*(uploads.take("p", [(digest_of(png(one)), png(one))]) for one in range(6)))
    await db.close()
    assert most == 2
