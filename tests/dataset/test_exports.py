"""The label files of a version, as archives."""

import csv
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import sqlalchemy as sa
import yaml

from bloomery.dataset.v1 import (
    DatasetSpec,
    DatasetVersion,
    ExportDatasetVersionRequest,
    ExportFormat,
)
from bloomery.vision.v1 import TaskType
from bloomery_dataset.app import MIGRATIONS, SCHEMA
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from bloomery_kit.migrations import migrate
from bloomery_vision.geometry import Mask, Polygon, Shape, Tag
from tests.databases import migrate_to
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import TRIANGLE, Service, box, failure, listed, serving, settings_for, store_at


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
    # Who unpacks has label files before there is anything to train by.
    assert [*files][-2:] == ["data.yaml", "images.csv"]
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
