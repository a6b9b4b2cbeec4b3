"""Versions of the real data sets, through the real annotation service."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from bloomery.annotation.v1 import DeleteProjectRequest, Import
from bloomery.dataset.v1 import DatasetSpec, DatasetVersion, DeleteDatasetRequest, SplitPolicy
from bloomery.vision.v1 import TaskType
from bloomery_vision.geometry import Box, Mask, Polygon
from bloomery_vision.manifest import ManifestIndex, ManifestRow, read_shard
from tests.annotation.helpers import Server, folder_files, folder_store, reason_of, status_of
from tests.annotation.helpers import serving as annotating
from tests.annotation.helpers import settings_for as annotation_settings
from tests.dataset.helpers import Service, serving, settings_for, store_at

RATIO = SplitPolicy(train_percent=70, val_percent=20, test_percent=10, seed=7)


@pytest.fixture
async def annotations(tmp_path: Path) -> AsyncIterator[Server]:
    url = f"sqlite+aiosqlite:///{tmp_path}/annotation.db"
    async with annotating(annotation_settings(url, folder_store(tmp_path / "blobs"))) as running:
        yield running


@pytest.fixture
async def service(annotations: Server, tmp_path: Path) -> AsyncIterator[Service]:
    url = f"sqlite+aiosqlite:///{tmp_path}/dataset.db"
    async with serving(settings_for(tmp_path, url, annotations.address)) as running:
        yield running


async def imported(annotations: Server, folder: Path) -> None:
    project = await annotations.project("cells")
    done = await annotations.run_import(project, folder_files(folder))
    assert done.state == Import.STATE_SUCCEEDED


async def rows_of(version: DatasetVersion, blobs: Path) -> list[ManifestRow]:
    store = store_at(blobs)
    index = ManifestIndex.from_json(await store.get(version.manifest.logical_key))
    return [row for shard in index.shards for row in read_shard(await store.get(shard.logical_key), index.classes)]


def shares(version: DatasetVersion) -> dict[str, list[float]]:
    """Of each class, the percentage of its shapes in train, val and test."""
    parts = version.statistics.splits
    totals = {name: sum(part.shapes[name] for part in parts) for name in version.classes}
    return {name: [100 * part.shapes[name] / total for part in parts] for name, total in totals.items()}


async def test_blood_cells_are_divided_evenly_or_as_their_authors_did(
    annotations: Server, service: Service, test_data: Path, tmp_path: Path
) -> None:
    folder = test_data / "blood-cells"
    await imported(annotations, folder)
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_DETECT, split=RATIO, include_empty=True))

    assert version.item_count == 364
    assert [part.image_count for part in version.statistics.splits] == [255, 73, 36]
    for name, found in shares(version).items():
        for share, wanted in zip(found, (70, 20, 10), strict=True):
            assert abs(share - wanted) < 2, (name, found)
    rows = await rows_of(version, tmp_path / "blobs")
    digests = [await store_at(tmp_path / "blobs").digest(row.logical_key) for row in rows[:10]]
    assert digests == [(row.digest, row.size_bytes) for row in rows[:10]]
    assert rows[0].file_name == "BloodImage_00000.jpg"

    policy = SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL)
    official = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_DETECT, split=policy, include_empty=True))
    listed = {
        split: set((folder / f"ImageSets/Main/{split}.txt").read_text().split()) for split in ("train", "val", "test")
    }
    kept = {split: set[str]() for split in listed}
    for row in await rows_of(official, tmp_path / "blobs"):
        kept[row.split].add(row.file_name.removesuffix(".jpg"))
    assert kept == listed


async def test_coco_photographs_keep_their_outlines(
    annotations: Server, service: Service, test_data: Path, tmp_path: Path
) -> None:
    folder = test_data / "coco-tiny"
    await imported(annotations, folder)
    boxes = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_DETECT, split=RATIO))
    outlines = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT, split=RATIO))

    detect, segment = [await rows_of(version, tmp_path / "blobs") for version in (boxes, outlines)]
    assert {type(shape.geometry) for row in detect for shape in row.shapes} == {Box}
    assert {type(shape.geometry) for row in segment for shape in row.shapes if not shape.crowd} == {Polygon}
    assert {type(shape.geometry) for row in segment for shape in row.shapes if shape.crowd} == {Mask}
    for rows, version in ((detect, boxes), (segment, outlines)):
        crowds = [shape for row in rows for shape in row.shapes if shape.crowd]
        counted = sum(part.crowd_count for part in version.statistics.splits)
        assert len(crowds) == counted == crowds_in(folder) > 0


def crowds_in(folder: Path) -> int:
    files = [json.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    return sum(each.get("iscrowd", 0) for file in files for each in file.get("annotations", []))


async def test_a_project_with_a_version_is_not_deleted(annotations: Server, service: Service, test_data: Path) -> None:
    await imported(annotations, test_data / "raccoons")
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_DETECT, split=RATIO))
    assert version.item_count == 196, "four of the two hundred files are copies"

    refused = await status_of(annotations.stub.DeleteProject(DeleteProjectRequest(name="projects/cells")))
    assert refused.code == 9
    assert refused.message.endswith("is needed by datasets/cells-v")
    assert reason_of(refused)

    await service.stub.DeleteDataset(DeleteDatasetRequest(name="projects/cells/datasets/cells-v"))
    await eventually_deleted(annotations, "projects/cells")


async def eventually_deleted(annotations: Server, name: str) -> None:
    """Wait until the hold of a deleted version is given up, which happens later."""
    for _ in range(600):
        try:
            await annotations.stub.DeleteProject(DeleteProjectRequest(name=name))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
        else:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is still held")
