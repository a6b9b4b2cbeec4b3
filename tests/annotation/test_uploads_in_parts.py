"""Large files in parts: what is asked for again, and what is kept, whoever brings and completes them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bloomery import AsyncClient, _upload
from bloomery._files import File
from bloomery._transfer import Transfer
from bloomery.annotation.v1 import (
    BlobInfo,
    CompleteUploadsRequest,
    PrepareUploadsRequest,
    PrepareUploadsResponse,
    Project,
    UploadTarget,
)
from bloomery.common.v1 import SignedRequest, UploadPart
from bloomery_annotation.blobs import DiskGuard, Uploads
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key, staging_key, staging_prefix
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit import uploads as kit_uploads
from bloomery_kit.database import Database
from bloomery_kit.errors import ResourceExhausted
from bloomery_kit.objects import ObjectStore
from bloomery_kit.times import utc_now
from tests.annotation.helpers import (
    OWNER,
    Server,
    bucket_store,
    digest_of,
    fields_of,
    png,
    reason_of,
    serving,
    status_of,
)

CONTENT = random.Random(1).randbytes(2500)
INFO = BlobInfo(digest=digest_of(CONTENT), size_bytes=len(CONTENT))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some bytes are large ones."""
    monkeypatch.setattr(kit_uploads, "PARTED_BYTES", 1000)
    monkeypatch.setattr(kit_uploads, "_PART_BYTES", 1000)


@pytest.fixture
async def deployed(deployed_settings: AnnotationSettings) -> AsyncIterator[Server]:
    async with serving(deployed_settings) as running:
        yield running


async def prepare(server: Server, *blobs: BlobInfo, in_parts: bool = True) -> PrepareUploadsResponse:
    request = PrepareUploadsRequest(parent="projects/p", blobs=blobs or [INFO], in_parts=in_parts)
    answer: PrepareUploadsResponse = await server.stub.PrepareUploads(request)
    return answer


async def target(server: Server) -> UploadTarget:
    """How the file is to be brought."""
    (missing,) = (await prepare(server)).missing
    return missing


async def complete(server: Server) -> str:
    """The reason why it is not kept, empty where it is."""
    answer = await server.stub.CompleteUploads(CompleteUploadsRequest(parent="projects/p", blobs=[INFO]))
    status = answer.results[0].status
    return reason_of(status) if status.code else ""


async def bring(objects: ObjectStore, parts: Sequence[UploadPart], content: bytes = CONTENT) -> None:
    for part in parts:
        key = part.put.url.partition("/staging/")
        uid = key[0].rpartition("/")[2]
        section = content[part.offset : part.offset + part.size_bytes]
        await objects.put(f"{uid}/staging/{key[2].partition('?')[0]}", section)


async def staged(server: Server, project: Project) -> int:
    return len([blob async for blob in server.objects.list(staging_prefix(project.uid))])


async def is_kept(server: Server, project: Project) -> bool:
    return await server.objects.digest(blob_key(project.uid, INFO.digest)) == (INFO.digest, INFO.size_bytes)


async def test_what_came_of_a_large_file_is_not_asked_for_again(deployed: Server) -> None:
    project = await deployed.project()
    first, second, third = (await target(deployed)).parts
    assert [(part.offset, part.size_bytes) for part in (first, second, third)] == [(0, 1000), (1000, 1000), (2000, 500)]
    await bring(deployed.objects, [third, first])
    assert await complete(deployed) == "BLOB_MISSING"
    again = await target(deployed)
    assert (again.HasField("put"), [part.offset for part in again.parts]) == (False, [1000])
    await bring(deployed.objects, again.parts)
    nothing = await target(deployed)
    assert (nothing.HasField("put"), list(nothing.parts)) == (False, [])
    assert await complete(deployed) == ""
    assert await is_kept(deployed, project)
    assert await staged(deployed, project) == 0
    assert not (await prepare(deployed)).missing
    assert await complete(deployed) == ""


async def test_an_image_that_came_in_parts_is_one(server: Server, project: Project) -> None:
    content = png(1) + bytes(2000)
    info = BlobInfo(digest=digest_of(content), size_bytes=len(content))
    await bring(server.objects, (await prepare(server, info)).missing[0].parts, content)
    await server.stub.CompleteUploads(CompleteUploadsRequest(parent=project.name, blobs=[info]))
    (asset,) = await server.assets(project, [content])
    assert (asset.width, asset.height, asset.size_bytes) == (64, 48, len(content))


async def test_who_knows_no_parts_gets_one_request(server: Server, project: Project) -> None:
    (one,) = (await prepare(server, in_parts=False)).missing
    assert (one.HasField("put"), list(one.parts)) == (True, [])
    await server.objects.put(staging_key(project.uid, INFO.digest), CONTENT)
    assert await complete(server) == ""


async def test_a_small_file_among_large_ones_gets_one_request(server: Server, project: Project) -> None:
    small = BlobInfo(digest=digest_of(b"small"), size_bytes=1000)
    answer = await prepare(server, INFO, small)
    assert [(one.HasField("put"), len(one.parts)) for one in answer.missing] == [(False, 3), (True, 0)]


async def test_more_large_files_than_an_answer_holds_are_refused(server: Server, project: Project) -> None:
    blobs = [BlobInfo(digest=digest_of(b"%d" % number), size_bytes=1) for number in range(101)]
    assert fields_of(await status_of(prepare(server, *blobs))) == ["blobs"]
    assert len((await prepare(server, *blobs[:100])).missing) == 100


@pytest.mark.parametrize("cut", [1, 1000])
async def test_a_part_that_was_cut_off_is_asked_for_again(server: Server, project: Project, cut: int) -> None:
    parts = (await target(server)).parts
    await bring(server.objects, parts)
    await bring(server.objects, parts[1:2], CONTENT[: 2000 - cut])
    assert await complete(server) == "BLOB_MISSING"
    again = (await target(server)).parts
    assert [part.offset for part in again] == [1000]
    await bring(server.objects, again)
    assert await complete(server) == ""


async def test_a_part_with_other_bytes_makes_all_of_them_wanted_again(server: Server, project: Project) -> None:
    parts = (await target(server)).parts
    await bring(server.objects, parts)
    await bring(server.objects, parts[1:2], CONTENT[::-1])
    assert await complete(server) == "DIGEST_MISMATCH"
    assert await staged(server, project) == 0
    again = (await target(server)).parts
    assert len(again) == 3
    await bring(server.objects, again)
    assert await complete(server) == ""
    assert await is_kept(server, project)


async def test_two_clients_that_bring_one_file_at_once_both_succeed(deployed: Server) -> None:
    project = await deployed.project()

    parts = (await target(deployed)).parts

    async def client(order: int) -> str:
        await bring(deployed.objects, parts[::order])
        return await complete(deployed)

    assert {*await asyncio.gather(client(1), client(-1), client(1))} == {""}
    assert await is_kept(deployed, project)


async def test_one_replica_signs_and_another_completes(deployed_settings: AnnotationSettings) -> None:
    async with serving(deployed_settings) as one, serving(deployed_settings) as other:
        project = await one.project()
        first, *rest = (await target(one)).parts
        await bring(one.objects, [first])
        assert [part.offset for part in (await target(other)).parts] == [part.offset for part in rest]
        await bring(other.objects, rest)
        assert await complete(other) == ""
        assert await is_kept(one, project)


async def test_a_client_brings_a_file_to_s3_in_parts(
    settings: AnnotationSettings, minio: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "BUNDLED_BYTES", 10)
    monkeypatch.setattr(_upload, "PARTED_BYTES", 1000)
    (tmp_path / "folder").mkdir()
    Image.frombytes("RGB", (60, 40), CONTENT * 3).save(tmp_path / "folder/a.png", compress_level=0)
    size = (tmp_path / "folder/a.png").stat().st_size
    sent = []
    real = Transfer.put

    async def put(transfer: Transfer, file: File, request: SignedRequest, **section: int) -> None:
        sent.append(section["offset"])
        await real(transfer, file, request, **section)

    monkeypatch.setattr(Transfer, "put", put)
    stored = settings.model_copy(update={"object_store": bucket_store(minio, bucket)})
    async with serving(stored) as server, AsyncClient(server.address, token=OWNER) as client:
        project = await client.create_project("p")
        await project.import_folder(tmp_path / "folder")
        (asset,) = [asset async for asset in project.assets()]
        await asset.download(tmp_path / "back.png")
        assert await staged(server, project.proto) == 0
    assert sorted(sent) == list(range(0, size, 1000))
    assert (tmp_path / "back.png").read_bytes() == (tmp_path / "folder/a.png").read_bytes()


async def test_parts_that_nobody_completes_are_collected(
    server: Server, project: Project, settings: AnnotationSettings
) -> None:
    await bring(server.objects, (await target(server)).parts[:2])
    db = Database.connect(settings.database_url)
    await Housekeeper(db, server.objects, url_seconds=60).tidy()
    assert await staged(server, project) == 2
    later = Housekeeper(db, server.objects, url_seconds=60, clock=lambda: utc_now() + timedelta(days=3))
    await later.tidy()
    assert await staged(server, project) == 0
    await db.close()


async def test_parts_of_which_some_were_collected_are_never_joined(server: Server, project: Project) -> None:
    parts = (await target(server)).parts
    await bring(server.objects, parts)
    await server.objects.delete(f"{staging_key(project.uid, INFO.digest)}.1000-1000")
    assert await complete(server) == "BLOB_MISSING"
    assert [part.offset for part in (await target(server)).parts] == [1000]


async def test_room_is_wanted_for_the_parts_that_are_to_come_and_for_joining_them(
    server: Server, project: Project, settings: AnnotationSettings
) -> None:
    db, free = Database.connect(settings.database_url), [2 * INFO.size_bytes - 1]
    disk = DiskGuard(Path("/"), 0, free=lambda _: free[0])
    uploads, wanted = Uploads(db, server.objects, disk, url_seconds=60, at_once=2), Blob(INFO.digest, INFO.size_bytes)
    with pytest.raises(ResourceExhausted):
        await uploads.prepare("p", [wanted], in_parts=True)
    await bring(server.objects, (await target(server)).parts[:1])
    free[0] -= 999
    ((_, upload),) = await uploads.prepare("p", [wanted], in_parts=True)
    assert len(upload.parts) == len((await target(server)).parts)
    free[0] -= 1
    with pytest.raises(ResourceExhausted):
        await uploads.prepare("p", [wanted], in_parts=True)
    await db.close()


class CrashError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["stat", "put", "delete"])
async def test_a_crash_between_any_two_steps_is_mended_by_repeating(
    server: Server, project: Project, settings: AnnotationSettings, method: str, after: bool
) -> None:
    await bring(server.objects, (await target(server)).parts)
    real: Callable[..., Any] = getattr(server.objects, method)
    left = [1]

    async def dying(*args: Any, **kwargs: Any) -> Any:
        if left and left.pop():
            if after:
                await real(*args, **kwargs)
            raise CrashError
        return await real(*args, **kwargs)

    setattr(server.objects, method, dying)
    db = Database.connect(settings.database_url)
    uploads = Uploads(db, server.objects, DiskGuard(None, 0), url_seconds=60, at_once=2)
    wanted = Blob(INFO.digest, INFO.size_bytes)
    with pytest.raises(CrashError):
        await uploads.complete("p", [wanted])
    assert await uploads.complete("p", [wanted]) == [None]
    await db.close()
    assert await is_kept(server, project)
