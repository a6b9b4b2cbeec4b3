"""A project takes no more than it may, whoever adds to it and through whichever replica."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bloomery.access.v1 import Quota, QuotaServiceStub, RegisterProjectRequest, UpdateQuotaRequest
from bloomery.annotation.v1 import (
    Asset,
    BatchCreateAssetsRequest,
    BlobContent,
    BlobInfo,
    DeleteAssetRequest,
    GetProjectRequest,
    Import,
    PrepareUploadsRequest,
    Project,
    UploadBlobsRequest,
)
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import projects, untold
from bloomery_annotation.store.untold import News
from bloomery_annotation.sweep import UNUSED_AGE, Sweeper
from bloomery_kit import quotas
from bloomery_kit.clients import channel
from bloomery_kit.times import utc_now
from tests import databases
from tests.access import helpers as access
from tests.annotation.helpers import OWNER, Server, digest_of, png, serving

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
FILES = [b"label file %d" % number for number in range(10)]
SIZE = len(FILES[0])


@dataclass
class Site:
    """Two replicas (on SQLite one twice), the service access, and a project that both know."""

    replicas: list[Server]
    limits: Any
    project: Project

    async def limit(self, **limits: int) -> None:
        """Set limits of the project, and let the replicas ask anew."""
        quota = Quota(name="projects/p/quota", **limits)  # type: ignore[arg-type]
        await self.limits.UpdateQuota(UpdateQuotaRequest(quota=quota))
        for replica in self.replicas:
            replica.app._servicer._parts.quotas._known.clear()

    async def size(self) -> int:
        project: Project = await self.replicas[0].stub.GetProject(GetProjectRequest(name="projects/p"))
        return project.size_bytes

    async def upload(self, files: list[bytes], replica: int = 0) -> list[int]:
        """Send files with one call; the code of each."""
        blobs = [BlobContent(digest=digest_of(data), content=data) for data in files]
        answer = await self.replicas[replica].stub.UploadBlobs(UploadBlobsRequest(parent="projects/p", blobs=blobs))
        return [one.status.code for one in answer.results]


@pytest.fixture
async def site(
    both_settings: AnnotationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    monkeypatch.setattr(access, "OWNER", OWNER)
    url = databases.sqlite_url("access", tmp_path / "access.db")
    async with AsyncExitStack() as stack:
        known = await stack.enter_async_context(access.serving(access.settings_for(tmp_path, url)))
        settings = both_settings.model_copy(update={"access_target": known.address})
        first = await stack.enter_async_context(serving(settings))
        alone = "sqlite" in both_settings.database_url
        second = first if alone else await stack.enter_async_context(serving(settings))
        limits = QuotaServiceStub(await stack.enter_async_context(channel(known.address, token=OWNER)))
        project = await first.project()
        await known.service.RegisterProject(RegisterProjectRequest(project="p", uid=project.uid))
        yield Site([first, second], limits, project)


async def test_of_a_bundle_the_files_that_fit_are_taken(site: Site) -> None:
    await site.limit(bytes=3 * SIZE + 1)
    assert await site.upload(FILES[:5]) == [0, 0, 0, EXHAUSTED.value[0], EXHAUSTED.value[0]]
    assert await site.size() == 3 * SIZE
    assert await site.upload(FILES[:3]) == [0, 0, 0]
    assert await site.upload(FILES[3:4]) == [EXHAUSTED.value[0]]
    await site.limit(bytes=-1)
    assert await site.upload(FILES[:5]) == [0] * 5
    assert await site.size() == 5 * SIZE


async def test_two_replicas_do_not_overshoot_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found that their images fit, and have put them into the store, before either records them."""
    images = [png(number) for number in (0, 1)]
    await site.limit(bytes=max(map(len, images)) * 3 // 2)
    both, lock = asyncio.Barrier(2), projects.lock
    # On SQLite writers of a process take turns, and would wait for each other for ever.
    to_come = [0, 1] if site.replicas[0] is not site.replicas[1] else []

    async def together(*given: Any) -> Any:
        if to_come:
            to_come.pop()
            await both.wait()
        return await lock(*given)

    monkeypatch.setattr(projects, "lock", together)
    codes = await asyncio.gather(*(site.upload([images[number]], number) for number in (0, 1)))
    assert sorted(codes) == [[0], [EXHAUSTED.value[0]]]
    assert await site.size() == len(images[codes.index([0])])
    replica = site.replicas[0]
    # Bytes go with those that nothing needs, as somebody else may be bringing the same.
    await Sweeper(replica.app._db, replica.objects, utc_now).sweep("p")
    assert await site.size() == len(images[codes.index([0])])
    kept = [await site.replicas[0].has_bytes(site.project, image) for image in images]
    assert kept == [code == [0] for code in codes]


async def test_room_comes_back_with_files_that_nothing_needs(site: Site) -> None:
    await site.limit(bytes=2 * SIZE)
    replica = site.replicas[0]
    assert await site.upload(FILES[:2]) == [0, 0]
    await Sweeper(replica.app._db, replica.objects, lambda: utc_now() + 2 * UNUSED_AGE).sweep("p")
    assert await site.size() == 0
    assert await site.upload(FILES[1:3]) == [0, 0]
    assert await site.size() == 2 * SIZE


async def test_nothing_is_sent_that_does_not_fit(site: Site) -> None:
    await site.limit(bytes=100)
    blob = BlobInfo(digest=digest_of(b"x" * 101), size_bytes=101)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await site.replicas[0].stub.PrepareUploads(PrepareUploadsRequest(parent="projects/p", blobs=[blob]))
    assert caught.value.code() is EXHAUSTED
    assert "may have 100 bytes and has 0: 101 more do not fit" in (caught.value.details() or "")


async def test_images_land_up_to_the_limit_and_room_comes_back_with_a_deletion(site: Site) -> None:
    replica = site.replicas[0]
    digests = await replica.upload([png(number) for number in range(4)], site.project)
    await site.limit(images=2)
    request = BatchCreateAssetsRequest(parent="projects/p", assets=[Asset(digest=one) for one in digests])
    answer = await replica.stub.BatchCreateAssets(request)
    assert [one.status.code for one in answer.results] == [0, 0, EXHAUSTED.value[0], EXHAUSTED.value[0]]
    await replica.stub.DeleteAsset(DeleteAssetRequest(name=answer.results[0].asset.name))
    answer = await replica.stub.BatchCreateAssets(
        BatchCreateAssetsRequest(parent="projects/p", assets=request.assets[1:])
    )
    assert [one.status.code for one in answer.results] == [0, 0, EXHAUSTED.value[0]]


async def test_an_import_that_does_not_fit_ends_with_what_to_do_and_goes_on_later(site: Site) -> None:
    files = {f"images/{number}.png": png(number) for number in range(3)}
    await site.limit(images=2)
    ended = await site.replicas[0].run_import(site.project, files)
    assert ended.state == Import.STATE_FAILED
    assert "may have 2 images and has 0: 3 more do not fit" in ended.error.message
    await site.limit(images=3)
    assert (await site.replicas[0].run_import(site.project, files)).asset_count == 3


async def test_an_older_versions_uploads_are_counted_later(site: Site) -> None:
    replica = site.replicas[0]
    await site.upload(FILES[:2])
    async with replica.app._db.write() as tx:
        project = await projects.lock(tx, "p")
        await projects.count_bytes(tx, project.uid, -SIZE)
        await projects.recount_bytes(tx, project)
    assert await site.size() == 2 * SIZE


async def test_an_older_versions_projects_are_told_of_later(site: Site) -> None:
    replica = site.replicas[0]
    async with replica.app._db.write() as tx:
        # As an older version makes one: it notes nothing, and access has never heard of it.
        older = replace(await projects.find(tx, "p"), id="older", uid="a" * 32)
        await projects.create(tx, older, "")
        await untold.told(tx, News(older.uid, "older", "", gone=False))
    await replica.app._servicer._parts.accounts.tell_all()
    limit = UpdateQuotaRequest(quota=Quota(name="projects/older/quota", images=1))
    assert (await site.limits.UpdateQuota(limit)).limits.images == 1


async def test_who_knows_no_limit_yet_refuses_rather_than_overshoot(
    both_settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "_ASKING_SECONDS", 0.5)
    async with serving(both_settings.model_copy(update={"access_target": "127.0.0.1:1"})) as replica:
        await replica.project()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await replica.upload([FILES[0]], Project(name="projects/p"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
