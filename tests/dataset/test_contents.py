"""What is inside a version: its images by pages."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from bloomery.dataset.v1 import (
    DatasetSpec,
    DatasetVersion,
    DeleteDatasetVersionRequest,
    ExportDatasetVersionRequest,
    ExportFormat,
    ListDatasetItemsRequest,
)
from bloomery.vision.v1 import TaskType
from bloomery_dataset import build
from bloomery_dataset import items as paging
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.errors import error_info
from bloomery_kit.objects import S3ObjectStore
from bloomery_kit.settings import S3StoreSettings
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Shape, Tag
from bloomery_vision.messages import shape_message, shape_value
from real_parts.minio import MinioServer
from tests.dataset.annotations import UID, FakeAnnotations
from tests.dataset.helpers import TRIANGLE, Service, box, failure, listed, serving, settings_for, store_at

coordinates = st.floats(0, 1e4)
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=5).map(tuple)
geometries: st.SearchStrategy[Geometry] = st.one_of(
    st.builds(Box, coordinates, coordinates, coordinates, coordinates),
    st.builds(Polygon, rings, st.lists(rings, max_size=2).map(tuple)),
    st.builds(Mask, st.just(4), st.just(3), st.just(b"03:")),
    st.just(Tag()),
)
numbers = st.none() | st.integers(1, 2**62)
shapes = st.builds(
    Shape,
    geometries,
    st.text(max_size=5),
    attributes=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    crowd=st.booleans(),
    group_id=numbers,
    track_id=numbers,
)


@given(shapes)
def test_a_shape_comes_back_from_its_message(shape: Shape) -> None:
    assert shape_value(shape_message(shape)) == shape


async def test_items_come_in_the_order_of_file_names_by_pages(service: Service, version: DatasetVersion) -> None:
    items, sizes, total = await listed(service, version.name, page_size=7)
    assert [item.file_name for item in items] == [f"{number:04d}.jpg" for number in range(20)]
    assert (sizes, total) == ([7, 7, 6], 20)
    assert [shape.label for shape in items[4].shapes] == ["RBC", "WBC"]
    assert items[4].shapes[0].box.x == 4.5
    assert not items[4].HasField("download")


async def test_items_are_filtered_by_split_and_class(service: Service, version: DatasetVersion) -> None:
    everything, _, _ = await listed(service, version.name)
    for split in ("train", "val", "test"):
        items, _, total = await listed(service, version.name, filter=f"split:{split}", page_size=3)
        assert items == [item for item in everything if item.split == split]
        assert total == len(items)
    items, sizes, total = await listed(service, version.name, filter="class:WBC", page_size=2)
    assert [item.file_name for item in items] == [f"{number:04d}.jpg" for number in range(0, 20, 4)]
    assert (sizes, total) == ([2, 2, 1], 5)
    assert await listed(service, version.name, filter="class:nothing") == ([], [0], 0)


async def test_pages_cross_shards(service: Service, fake: FakeAnnotations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", 4)
    monkeypatch.setattr(build, "_SLICE", 2)
    for number in range(11):
        fake.add(number, [box()])
    version = await service.build()
    items, sizes, _ = await listed(service, version.name, page_size=3)
    assert [item.file_name for item in items] == [f"{number:04d}.jpg" for number in range(11)]
    assert sizes == [3, 3, 3, 2]


async def test_a_page_of_very_many_shapes_ends_early(
    service: Service, fake: FakeAnnotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "_PAGE_BYTES", 10_000)
    for number in range(6):
        fake.add(number, [Shape(TRIANGLE, "rbc")] * (100 if number == 3 else 10))
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT))
    items, sizes, _ = await listed(service, version.name, page_size=1000)
    assert [item.file_name for item in items] == [f"{number:04d}.jpg" for number in range(6)]
    assert sizes == [3, 1, 2]


async def test_downloads_are_signed_for_the_original_bytes(service: Service, version: DatasetVersion) -> None:
    items, _, _ = await listed(service, version.name, sign_downloads=True)
    for item in items:
        url = urlsplit(item.download.url)
        assert unquote(url.path).endswith(item.digest.removeprefix("sha256:"))
        assert parse_qs(url.query)["filename"] == [item.file_name]
        assert item.download.HasField("expire_time")


@pytest.mark.parametrize("wrong", ["x", "split:", "split:nothing", "class:", "class"])
async def test_an_unknown_filter_is_refused(service: Service, version: DatasetVersion, wrong: str) -> None:
    status = await failure(service.stub.ListDatasetItems(ListDatasetItemsRequest(parent=version.name, filter=wrong)))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_a_version_that_is_not_ready_has_no_items(settings: DatasetSettings, fake: FakeAnnotations) -> None:
    async with serving(settings, start=False) as idle:
        created = await idle.create()
        for call in (
            idle.stub.ListDatasetItems(ListDatasetItemsRequest(parent=created.name)),
            idle.stub.ExportDatasetVersion(
                ExportDatasetVersionRequest(name=created.name, format=ExportFormat.EXPORT_FORMAT_COCO)
            ),
        ):
            status = await failure(call)
            assert error_info(status).reason == "NOT_READY"
            assert created.name in status.message


@pytest.fixture
async def small_cache(tmp_path: Path, database_url: str, annotation_target: str) -> AsyncIterator[Service]:
    settings = settings_for(tmp_path, database_url, annotation_target).model_copy(update={"cache_bytes": 1})
    async with serving(settings) as running:
        yield running


async def test_a_cache_without_room_serves_and_stays_small(
    small_cache: Service, fake: FakeAnnotations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", 4)
    monkeypatch.setattr(build, "_SLICE", 2)
    for number in range(11):
        fake.add(number, [box()])
    version = await small_cache.build()
    items, _, _ = await listed(small_cache, version.name, page_size=2)
    assert len(items) == 11
    assert len(manifests(tmp_path)) == 1


def manifests(folder: Path) -> list[Path]:
    return list(folder.glob("cache-*/manifests/*"))


async def test_a_version_lives_in_a_bucket_as_well(
    fake: FakeAnnotations,
    annotation_target: str,
    database_url: str,
    tmp_path: Path,
    minio: MinioServer,
    bucket: str,
) -> None:
    endpoint = f"http://{minio.endpoint}"
    access_key, secret_key = SecretStr(minio.access_key), SecretStr(minio.secret_key)
    store = S3StoreSettings(
        endpoint=endpoint, public_endpoint=endpoint, bucket=bucket, access_key=access_key, secret_key=secret_key
    )
    settings = settings_for(tmp_path, database_url, annotation_target).model_copy(update={"object_store": store})
    for number in range(11):
        fake.add(number, [box()])
    async with serving(settings) as service, httpx.AsyncClient() as http:
        version = await service.build()
        items, _, _ = await listed(service, version.name, page_size=4)
        request = ExportDatasetVersionRequest(name=version.name, format=ExportFormat.EXPORT_FORMAT_COCO)
        exported = await service.stub.ExportDatasetVersion(request)
        data = (await http.get(exported.download.url)).content
        await service.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=version.name))
        await emptied(S3ObjectStore(store))
    assert len(items) == 11
    assert exported.archive.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


async def emptied(store: S3ObjectStore) -> None:
    for _ in range(600):
        if not [found async for found in store.list()]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("objects are left in the bucket")


async def test_a_damaged_manifest_is_told_and_not_served(
    service: Service, version: DatasetVersion, tmp_path: Path
) -> None:
    (shard,) = (tmp_path / "blobs").rglob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-100])
    status = await failure(service.stub.ListDatasetItems(ListDatasetItemsRequest(parent=version.name)))
    assert error_info(status).reason == "MANIFEST_DAMAGED"


async def test_small_images_come_with_their_listing_where_that_is_asked(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    store = store_at(tmp_path / "blobs")
    for number, size in enumerate((100, 1 << 20, (1 << 20) + 1)):
        asset = fake.assets[fake.add(number, [box()])]
        asset.size_bytes = size
        await store.put(f"{UID}/{asset.digest.removeprefix('sha256:')}", bytes([number]) * size)
    version = await service.build()
    request = ListDatasetItemsRequest(parent=version.name, inline_contents=True, without_shapes=True)
    items = (await service.stub.ListDatasetItems(request)).items
    assert [(len(item.content), len(item.shapes)) for item in items] == [(100, 0), (1 << 20, 0), (0, 0)]
    assert items[1].content == b"\1" * (1 << 20)


async def test_what_is_told_of_images_may_change_from_page_to_page(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    store = store_at(tmp_path / "blobs")
    for number in range(3):
        asset = fake.assets[fake.add(number, [box()])]
        asset.size_bytes = 1
        await store.put(f"{UID}/{asset.digest.removeprefix('sha256:')}", bytes([number]))
    version = await service.build()
    request = ListDatasetItemsRequest(parent=version.name, page_size=1, without_shapes=True)
    request.page_token = (await service.stub.ListDatasetItems(request)).next_page_token
    request.inline_contents = True
    page = await service.stub.ListDatasetItems(request)
    assert [item.content for item in page.items] == [b"\1"]
    request.page_token, request.inline_contents, request.sign_downloads = page.next_page_token, False, True
    page = await service.stub.ListDatasetItems(request)
    assert [(item.content, item.HasField("download")) for item in page.items] == [(b"", True)]
    request.filter = "split:train"
    refused = await failure(service.stub.ListDatasetItems(request))
    assert error_info(refused).reason == "PAGE_TOKEN_INVALID"


async def test_pages_of_contents_end_early(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    store = store_at(tmp_path / "blobs")
    for number in range(10):
        asset = fake.assets[fake.add(number, [box()])]
        asset.size_bytes = 1 << 20
        await store.put(f"{UID}/{asset.digest.removeprefix('sha256:')}", bytes([number]) * (1 << 20))
    version = await service.build()
    request = ListDatasetItemsRequest(parent=version.name, inline_contents=True)
    pages: list[list[int]] = []
    while not pages or request.page_token:
        page = await service.stub.ListDatasetItems(request)
        pages.append([item.content[0] for item in page.items])
        request.page_token = page.next_page_token
        assert page.ByteSize() < 5 << 20
    assert [number for page in pages for number in page] == list(range(10))
