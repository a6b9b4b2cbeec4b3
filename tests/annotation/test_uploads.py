"""Uploads: what is asked for, what is checked, and what survives a crash."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bloomery.annotation.v1 import (
    Asset,
    BatchCreateAssetsRequest,
    BlobInfo,
    CompleteUploadsRequest,
    DeleteProjectRequest,
    Import,
    PrepareUploadsRequest,
    PrepareUploadsResponse,
    Project,
    SignDownloadsRequest,
)
from bloomery_annotation.blobs import DiskGuard, Uploads
from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key, staging_key
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.database import Database
from bloomery_kit.errors import ResourceExhausted, Unavailable
from bloomery_kit.objects import FolderObjectStore, ObjectStat
from tests.annotation.helpers import (
    Server,
    bucket_store,
    digest_of,
    fields_of,
    folder_files,
    png,
    reason_of,
    serving,
    settings_for,
    status_of,
)


def info(content: bytes) -> BlobInfo:
    return BlobInfo(digest=digest_of(content), size_bytes=len(content))


async def complete(server: Server, *blobs: BlobInfo) -> list[str]:
    """The reason at each item, empty where it is kept."""
    answer = await server.stub.CompleteUploads(CompleteUploadsRequest(parent="projects/p", blobs=blobs))
    return [reason_of(result.status) if result.status.code else "" for result in answer.results]


async def prepare(server: Server, *blobs: BlobInfo) -> PrepareUploadsResponse:
    answer: PrepareUploadsResponse = await server.stub.PrepareUploads(
        PrepareUploadsRequest(parent="projects/p", blobs=blobs)
    )
    return answer


async def test_only_what_is_missing_is_asked_for_and_only_once(server: Server, project: Project) -> None:
    await server.upload([png(1)], project)
    wanted = await prepare(server, info(png(1)), info(png(2)), info(png(2)))
    assert [target.digest for target in wanted.missing] == [digest_of(png(2))]
    assert "size=" in wanted.missing[0].put.url


@pytest.mark.parametrize(("limit", "signed"), [(0, [True] * 3), (4, [False, False, True]), (9, [False] * 3)])
async def test_blobs_that_come_with_a_call_get_no_signed_request(
    server: Server, project: Project, limit: int, signed: list[bool]
) -> None:
    blobs = [info(b""), info(b"four"), info(b"fives")]
    request = PrepareUploadsRequest(parent=project.name, blobs=blobs, unsigned_up_to_bytes=limit)
    missing = (await server.stub.PrepareUploads(request)).missing
    assert [target.digest for target in missing] == [blob.digest for blob in blobs]
    assert [target.HasField("put") for target in missing] == signed


async def test_each_upload_is_checked_on_its_own(server: Server, project: Project) -> None:
    good, wrong, absent = png(1), png(2), png(3)
    await server.objects.put(staging_key(project.uid, digest_of(good)), good)
    await server.objects.put(staging_key(project.uid, digest_of(wrong)), b"something else")
    assert await complete(server, info(good), info(wrong), info(absent)) == ["", "DIGEST_MISMATCH", "BLOB_MISSING"]
    assert await complete(server, info(good)) == [""]
    assert await server.objects.stat(staging_key(project.uid, digest_of(wrong))) is None
    kept = [stat.key async for stat in server.objects.list(f"{project.uid}/")]
    assert kept == [blob_key(project.uid, digest_of(good))]


async def test_a_size_that_was_not_announced_is_refused(server: Server, project: Project) -> None:
    content = png(1)
    await server.objects.put(staging_key(project.uid, digest_of(content)), content)
    lie = BlobInfo(digest=digest_of(content), size_bytes=len(content) - 1)
    assert await complete(server, lie) == ["DIGEST_MISMATCH"]


async def test_of_more_than_was_announced_nothing_is_read(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = png(1)
    await server.objects.put(staging_key(project.uid, digest_of(content)), content + bytes(1 << 20))
    monkeypatch.setattr(FolderObjectStore, "open", None)
    assert await complete(server, info(content)) == ["DIGEST_MISMATCH"]


async def test_no_more_uploads_are_checked_at_once_than_the_settings_say(
    settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, now, most = FolderObjectStore.stat, [0], [0]

    async def stat(store: FolderObjectStore, key: str) -> ObjectStat | None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.01)
        now[0] -= 1
        return await real(store, key)

    async with serving(settings.model_copy(update={"uploads_at_once": 6})) as server:
        project = await server.project()
        contents = [png(seed) for seed in range(20)]
        for content in contents:
            await server.objects.put(staging_key(project.uid, digest_of(content)), content)
        monkeypatch.setattr(FolderObjectStore, "stat", stat)
        assert await complete(server, *map(info, contents)) == [""] * 20
    assert most == [6]


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
async def test_what_grows_under_the_check_is_read_as_far_as_announced(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    content, grown = png(1), png(1) + bytes(4 << 20)
    monkeypatch.setattr("bloomery_annotation.blobs._IN_MEMORY", in_memory)
    real_stat, real_open, read = FolderObjectStore.stat, FolderObjectStore.open, [0]

    async def stat(store: FolderObjectStore, key: str) -> ObjectStat | None:
        found = await real_stat(store, key)
        await store.put(key, grown)
        return found

    async def count(store: FolderObjectStore, key: str, **limits: Any) -> AsyncIterator[bytes]:
        async for chunk in real_open(store, key, **limits):
            read[0] += len(chunk)
            yield chunk

    await server.objects.put(staging_key(project.uid, digest_of(content)), content)
    monkeypatch.setattr(FolderObjectStore, "stat", stat)
    monkeypatch.setattr(FolderObjectStore, "open", count)
    # A client of S3 may write twice; what is kept is what was announced, or nothing.
    assert await complete(server, info(content)) == [""]
    assert read == [len(content)]


async def test_one_blob_completed_by_many_at_once_is_kept(server: Server, project: Project) -> None:
    blobs = [png(seed) for seed in range(5)]
    for content in blobs:
        await server.objects.put(staging_key(project.uid, digest_of(content)), content)
    outcomes = await asyncio.gather(*(complete(server, *map(info, blobs)) for _ in range(6)))
    assert outcomes == [[""] * 5] * 6


async def test_a_blob_too_large_for_memory_goes_through_a_file(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.blobs._IN_MEMORY", 10)
    content = png(1, (30, 20))
    await server.objects.put(staging_key(project.uid, digest_of(content)), content)
    assert await complete(server, info(content)) == [""]
    (asset,) = await server.assets(project, [content])
    assert (asset.width, asset.height) == (30, 20)
    assert await server.objects.digest(blob_key(project.uid, asset.digest)) == (asset.digest, asset.size_bytes)


@pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 64, "sha256:" + "A" * 64])
async def test_what_is_no_digest_is_refused(server: Server, project: Project, digest: str) -> None:
    status = await status_of(prepare(server, BlobInfo(digest=digest, size_bytes=-1)))
    assert fields_of(status) == ["blobs[0].digest", "blobs[0].size_bytes"]


async def test_more_than_the_largest_file_is_refused_before_a_byte_is_sent(server: Server, project: Project) -> None:
    status = await status_of(prepare(server, BlobInfo(digest=digest_of(b"x"), size_bytes=50 << 30)))
    assert fields_of(status) == ["blobs[0].size_bytes"]


def test_uploads_leave_the_reserved_space_free(tmp_path: Path) -> None:
    guard = DiskGuard(tmp_path, 100, free=lambda _: 150)
    guard.check(50)
    with pytest.raises(ResourceExhausted) as refusal:
        guard.check(51)
    assert refusal.value.reason == "DISK_LOW"
    DiskGuard(None, 100, free=lambda _: 0).check(1 << 40)


async def test_a_full_disk_is_said_at_the_rpc(tmp_path: Path, settings: AnnotationSettings) -> None:
    async with serving(settings.model_copy(update={"reserved_bytes": 1 << 60})) as server:
        await server.project()
        assert reason_of(await status_of(prepare(server, info(png(1))))) == "DISK_LOW"
        assert not (await prepare(server)).missing


class CrashError(Exception):
    """The process dies here."""


def crashing(store: FolderObjectStore, method: str, *, after: bool) -> FolderObjectStore:
    """The store, whose `method` does not come back the first time."""
    real: Callable[..., Any] = getattr(store, method)
    left = [1]

    async def call(*args: Any, **kwargs: Any) -> Any:
        if left and left.pop():
            if after:
                await real(*args, **kwargs)
            raise CrashError
        return await real(*args, **kwargs)

    setattr(store, method, call)
    return store


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["stat", "put", "delete"])
async def test_a_crash_between_any_two_steps_is_mended_by_repeating(
    server: Server, project: Project, settings: AnnotationSettings, method: str, after: bool
) -> None:
    content = png(1)
    await server.objects.put(staging_key(project.uid, digest_of(content)), content)
    db = Database.connect(settings.database_url)
    assert isinstance(server.objects, FolderObjectStore)
    store = crashing(server.objects, method, after=after)
    uploads = Uploads(db, store, DiskGuard(None, 0), url_seconds=60, at_once=2)
    wanted = Blob(digest_of(content), len(content))
    with pytest.raises(CrashError):
        await uploads.complete("p", [wanted])
    assert await uploads.complete("p", [wanted]) == [None]
    await db.close()
    assert await server.objects.digest(blob_key(project.uid, wanted.digest)) == (wanted.digest, wanted.size_bytes)


async def test_a_store_that_is_down_is_said_at_the_item(
    server: Server, project: Project, settings: AnnotationSettings
) -> None:
    async def down(key: str) -> bytes:
        raise Unavailable("OBJECT_STORE_UNAVAILABLE", "down")

    db = Database.connect(settings.database_url)
    server.objects.stat = down  # type: ignore[method-assign,assignment]
    uploads = Uploads(db, server.objects, DiskGuard(None, 0), url_seconds=60, at_once=2)
    outcome = (await uploads.complete("p", [Blob(digest_of(b"x"), 1)]))[0]
    await db.close()
    assert isinstance(outcome, Unavailable)


async def test_an_upload_to_a_project_that_was_made_again_meanwhile_is_not_recorded(
    both: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    content = png(1)
    await both.objects.put(staging_key(project.uid, digest_of(content)), content)
    real = FolderObjectStore.put

    async def put(store: FolderObjectStore, key: str, *args: Any, **kwargs: Any) -> ObjectStat:
        await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))
        await both.project()
        return await real(store, key, *args, **kwargs)

    monkeypatch.setattr(FolderObjectStore, "put", put)
    assert reason_of(await status_of(complete(both, info(content)))) == "NOT_FOUND"
    assert len((await prepare(both, info(content))).missing) == 1, "the new project does not have it"


async def test_everything_works_on_postgres_and_minio(
    postgres_url: str, minio: Any, bucket: str, test_data: Path
) -> None:
    """Bytes move by the URLs alone, as a client moves them."""
    files = folder_files(test_data / "coco-tiny")
    contents = {digest_of(content): content for content in files.values()}

    def put(url: str, content: bytes) -> None:
        request = urllib.request.Request(url, data=content, method="PUT")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    def get(url: str) -> bytes:
        with urllib.request.urlopen(url) as answer:
            content: bytes = answer.read()
        return content

    async with serving(settings_for(postgres_url, bucket_store(minio, bucket))) as server:
        project = await server.project()
        wanted = await prepare(server, *map(info, contents.values()))
        assert len(wanted.missing) == len(contents)
        for target in wanted.missing:
            await asyncio.to_thread(put, target.put.url, contents[target.digest])
        assert not any(await complete(server, *map(info, contents.values())))
        done = await server.run_import(project, files)
        assert (done.state, done.asset_count) == (Import.STATE_SUCCEEDED, 38)
        image = next(content for path, content in files.items() if path.endswith(".jpg"))
        request = BatchCreateAssetsRequest(parent=project.name, assets=[Asset(digest=digest_of(image))])
        asset = (await server.stub.BatchCreateAssets(request)).results[0].asset
        signed = await server.stub.SignDownloads(SignDownloadsRequest(parent=project.name, assets=[asset.name]))
        assert await asyncio.to_thread(get, signed.downloads[0].get.url) == image
