"""What is inside a version: its images by pages, and its exports."""

import asyncio
import csv
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import httpx
import numpy as np
import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from bloomery.dataset.v1 import (
    DatasetItem,
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
from bloomery_dataset.app import MIGRATIONS, SCHEMA
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from bloomery_kit.migrations import migrate
from bloomery_kit.objects import S3ObjectStore
from bloomery_kit.settings import S3StoreSettings
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Shape, Tag
from bloomery_vision.messages import shape_message, shape_value
from real_parts.minio import MinioServer
from tests.databases import migrate_to
from tests.dataset.annotations import UID, FakeAnnotations
from tests.dataset.helpers import Service, box, failure, serving, settings_for, store_at

TRIANGLE = Polygon(((10.0, 10.0), (30.0, 10.0), (30.0, 50.0)))
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


@pytest.fixture
async def version(service: Service, fake: FakeAnnotations) -> DatasetVersion:
    for number in range(20):
        fake.add(number, [box("rbc", number + 0.5)] + [box("wbc")] * (number % 4 == 0))
    return await service.build()


async def listed(service: Service, name: str, **fields: object) -> tuple[list[DatasetItem], list[int], int]:
    """All pages: the items, the sizes of the pages, and the total."""
    request = ListDatasetItemsRequest(parent=name, **fields)  # type: ignore[arg-type]
    items: list[DatasetItem] = []
    sizes: list[int] = []
    while True:
        page = await service.stub.ListDatasetItems(request)
        items += page.items
        sizes.append(len(page.items))
        request.page_token = page.next_page_token
        if not request.page_token:
            return items, sizes, page.total_size


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


async def export(service: Service, name: str, export_format: ExportFormat.ValueType, blobs: Path) -> dict[str, bytes]:
    answer = await service.stub.ExportDatasetVersion(ExportDatasetVersionRequest(name=name, format=export_format))
    data = await store_at(blobs).get(answer.archive.logical_key)
    assert answer.archive.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert answer.archive.size_bytes == len(data)
    assert answer.archive.file_name in answer.download.url
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {entry: archive.read(entry) for entry in archive.namelist()}


async def test_a_yolo_export_is_what_trainers_read(service: Service, version: DatasetVersion, tmp_path: Path) -> None:
    files = await export(service, version.name, ExportFormat.EXPORT_FORMAT_YOLO, tmp_path / "blobs")
    items, _, _ = await listed(service, version.name)
    assert yaml.safe_load(files.pop("data.yaml"))["names"] == {0: "RBC", 1: "WBC", 2: "Platelets"}
    labels = {f"labels/{item.split}/{Path(item.file_name).stem}.txt" for item in items}
    assert files.keys() == {"images.csv", *labels}
    number, *values = files[f"labels/{items[1].split}/0001.txt"].split()
    assert number == b"0"
    assert [float(value) for value in values] == pytest.approx([16.5 / 640, 22 / 480, 30 / 640, 40 / 480])


async def test_a_coco_export_reads_back_as_it_was(service: Service, version: DatasetVersion, tmp_path: Path) -> None:
    files = await export(service, version.name, ExportFormat.EXPORT_FORMAT_COCO, tmp_path / "blobs")
    assert files.keys() == {
        "images.csv",
        *(f"annotations/instances_{split}.json" for split in ("train", "val", "test")),
    }
    items, _, _ = await listed(service, version.name)
    found = [json.loads(files[f"annotations/instances_{split}.json"]) for split in ("train", "val", "test")]
    assert sorted(image["file_name"] for each in found for image in each["images"]) == [i.file_name for i in items]
    boxes = sorted(annotation["bbox"] for each in found for annotation in each["annotations"])
    assert boxes == sorted([s.box.x, s.box.y, s.box.width, s.box.height] for item in items for s in item.shapes)


async def test_an_export_is_made_once(service: Service, version: DatasetVersion, tmp_path: Path) -> None:
    first = await export(service, version.name, ExportFormat.EXPORT_FORMAT_YOLO, tmp_path / "blobs")
    (archive,) = (tmp_path / "blobs").rglob("*.zip")
    written = archive.stat().st_mtime_ns
    assert await export(service, version.name, ExportFormat.EXPORT_FORMAT_YOLO, tmp_path / "blobs") == first
    assert archive.stat().st_mtime_ns == written


async def test_a_segmentation_exports_its_outlines(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    fake.add(1, [Shape(TRIANGLE, "rbc")])
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT))
    files = await export(service, version.name, ExportFormat.EXPORT_FORMAT_YOLO, tmp_path / "blobs")
    number, *corners = files["labels/train/0001.txt"].split()
    assert (number, len(corners)) == (b"0", 2 * 4)
    assert corners[:2] == corners[-2:], "six numbers alone are read as a box and its confidence"


async def test_a_classification_has_no_label_files_to_export(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [Shape(Tag(), "rbc")])
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY))
    request = ExportDatasetVersionRequest(name=version.name, format=ExportFormat.EXPORT_FORMAT_YOLO)
    assert error_info(await failure(service.stub.ExportDatasetVersion(request))).reason == "NO_LABEL_FILES"
    request.ClearField("format")
    status = await failure(service.stub.ExportDatasetVersion(request))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_a_table_beside_the_labels_tells_what_images_were_called(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    wanted = fake.add(1, [box()], name="images/cam1/фото, 1.jpg")
    fake.assets[wanted].source_name, fake.assets[wanted].source_id = "D:\\cam1\\фото, 1.jpg", "17"
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_DETECT, include_empty=True))
    files = await export(service, version.name, ExportFormat.EXPORT_FORMAT_YOLO, tmp_path / "blobs")
    (row,) = csv.DictReader(io.StringIO(files["images.csv"].decode()))
    assert row == {
        "image": "images/train/cam1/фото, 1.jpg",
        "split": "train",
        "original_name": "images/cam1/фото, 1.jpg",
        "source_name": "D:\\cam1\\фото, 1.jpg",
        "source_id": "17",
        "asset": fake.assets[wanted].name,
        "digest": fake.assets[wanted].digest,
    }
    assert "labels/train/cam1/фото, 1.txt" in files
    ((item,), _, _) = await listed(service, version.name)
    assert (item.file_name, item.original_name) == ("cam1/фото, 1.jpg", row["original_name"])
    assert (item.source_name, item.source_id) == (row["source_name"], "17")


async def test_an_export_says_what_its_format_cannot_hold(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    ring = np.zeros((480, 640), dtype=bool)
    ring[10:20, 10:20] = True
    ring[13:17, 13:17] = False
    parts = Polygon(TRIANGLE.points, (((200.0, 200.0), (220.0, 200.0), (220.0, 220.0)),))
    noted = replace(box(), attributes={"truncated": "1"})
    fake.add(1, [Shape(Mask.from_array(ring), "rbc"), Shape(parts, "rbc"), replace(noted, crowd=True), noted])
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT))
    yolo = ExportDatasetVersionRequest(name=version.name, format=ExportFormat.EXPORT_FORMAT_YOLO)
    for _again in range(2):
        assert (await service.stub.ExportDatasetVersion(yolo)).losses == {
            "crowd left out": 1,
            "mask as outline": 1,
            "holes opened by bridges": 1,
            "parts joined by bridges": 1,
            "attributes left out": 1,
        }
    coco = ExportDatasetVersionRequest(name=version.name, format=ExportFormat.EXPORT_FORMAT_COCO)
    assert not (await service.stub.ExportDatasetVersion(coco)).losses


async def test_an_archive_that_an_older_replica_adds_is_made_anew(
    fake: FakeAnnotations, any_database_url: str, tmp_path: Path, annotation_target: str
) -> None:
    fake.add(1, [replace(box(), attributes={"truncated": "1"})])
    old = "INSERT INTO exports (version_uid, format, digest, size_bytes, logical_key) SELECT uid, 'yolo', 'd', 1, 'k'"
    async with serving(settings_for(tmp_path, any_database_url, annotation_target)) as service:
        version = await service.build()
        db = Database.connect(any_database_url, SCHEMA)
        async with db.write() as tx:
            await tx.execute(sa.text(f"{old} FROM versions"))
        await db.close()
        request = ExportDatasetVersionRequest(name=version.name, format=ExportFormat.EXPORT_FORMAT_YOLO)
        exported = [await service.stub.ExportDatasetVersion(request) for _ in range(2)]
        assert [one.losses for one in exported] == [{"attributes left out": 1}] * 2
        assert "images.csv" in await export(service, version.name, request.format, tmp_path / "blobs")


async def test_an_upgrade_leaves_no_archive_that_replicas_of_before_take_for_one_without_losses(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite+aiosqlite:///{tmp_path}/old.db")
    await migrate_to(db, MIGRATIONS, "0006")
    columns = "uid, dataset_uid, project_uid, ordinal, spec, state, create_time, update_time, sequence, done_count"
    columns += ", item_count, attempts"
    async with db.write() as tx:
        for row in (
            "datasets VALUES ('d', 'p', 'd', '', '{}', '', '', 1, 0, 'u', 0)",
            f"versions ({columns}) VALUES ('v', 'd', 'u', 1, '{{}}', 'READY', '', '', 1, 0, 0, 0)",
            "exports VALUES ('v', 'yolo', 'd', 1, 'k', '{}')",
        ):
            await tx.execute(sa.text(f"INSERT INTO {row}"))
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        assert (await tx.execute(sa.text("SELECT count(*) FROM exports"))).scalar_one() == 0
    await db.close()


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
