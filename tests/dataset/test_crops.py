"""Versions of crops: one image for each box, cut out when the version is built."""

import hashlib
import io
from collections import defaultdict
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloomery.dataset.v1 import (
    CompareDatasetVersionsRequest,
    CropSpec,
    DatasetItem,
    DatasetSpec,
    DatasetVersion,
    DeleteDatasetVersionRequest,
    SplitPolicy,
)
from bloomery.vision.v1 import TaskType
from bloomery_dataset.build import BuildRun
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.errors import error_info
from bloomery_vision.geometry import Box, Polygon, Shape, Tag
from bloomery_vision.images import decode
from tests.dataset.annotations import UID, FakeAnnotations
from tests.dataset.helpers import (
    DATASET,
    DETECT,
    Crash,
    Service,
    building,
    failure,
    has,
    let_leases_run_out,
    listed,
    rows_of,
    serving,
    settings_for,
    store_at,
)

CROPS = "projects/cells/datasets/crops"
SIDE = 128


def crop_spec(source: str = "", *, split: SplitPolicy | None = None, **crops: object) -> DatasetSpec:
    return DatasetSpec(
        source=source,
        task=TaskType.TASK_TYPE_CLASSIFY,
        split=split,
        crops=CropSpec(**crops),  # type: ignore[arg-type]
    )


def pixels_of(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


async def picture(fake: FakeAnnotations, folder: Path, number: int, shapes: list[Shape], **facts: str) -> None:
    """An image whose bytes are there."""
    packed = io.BytesIO()
    Image.fromarray(pixels_of(number)).save(packed, "PNG")
    data = packed.getvalue()
    asset = fake.assets[fake.add(number, shapes, **facts)]  # type: ignore[arg-type]
    digest = hashlib.sha256(data).hexdigest()
    asset.digest, asset.size_bytes, asset.media_type = f"sha256:{digest}", len(data), "image/png"
    asset.width = asset.height = SIDE
    await store_at(folder / "blobs").put(f"{UID}/{digest}", data)


async def fill(fake: FakeAnnotations, folder: Path, count: int = 12) -> None:
    for number in range(count):
        shapes = [
            Shape(Box(10, 20, 30, 40), "rbc"),
            Shape(Box(60, 50, 20, 20), "wbc", attributes={"number": str(number)}),
        ]
        await picture(fake, folder, number, shapes)


async def pixels(item: DatasetItem, folder: Path, version: DatasetVersion) -> NDArray[np.uint8]:
    (row,) = [
        row
        for row in await rows_of(version, folder / "blobs")
        if row.file_name == item.file_name and row.split == item.split
    ]
    data = await store_at(folder / "blobs").get(row.logical_key)
    assert (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)) == (item.digest, item.size_bytes)
    return decode(data)


async def test_each_box_of_a_version_is_an_image_of_its_own(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    await fill(fake, tmp_path)
    source = await service.build()
    version = await service.finish((await service.create(crop_spec(source.name, margin=0.1), parent=CROPS)).name)
    assert version.state == DatasetVersion.STATE_READY, version.error
    assert version.spec.source == source.name
    assert list(version.classes) == ["RBC", "WBC", "Platelets"]
    assert version.read_sequence == source.read_sequence
    items, _, total = await listed(service, version.name)
    assert len(items) == total == 24
    split_of = {item.digest: item.split for item in (await listed(service, source.name))[0]}
    assert all(item.split == split_of[item.crop.source_digest] for item in items)
    item = next(item for item in items if item.shapes[0].label == "WBC")
    number = int(item.shapes[0].attributes["number"])
    assert (item.file_name, item.original_name) == (f"{number:04}-2.png", f"images/{number:04}.jpg")
    assert item.shapes[0].WhichOneof("geometry") == "tag"
    region, box = item.crop.region, item.crop.box
    assert (box.x, box.y, box.width, box.height) == (60, 50, 20, 20)
    assert (region.x, region.y, region.width, region.height) == (58, 48, 24, 24)
    assert np.array_equal(await pixels(item, tmp_path, version), pixels_of(number)[48:72, 58:82])


async def test_crops_of_a_project_stay_together(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    await fill(fake, tmp_path)
    split = SplitPolicy(method=SplitPolicy.METHOD_RATIO, train_percent=50, val_percent=25, test_percent=25)
    version = await service.build(crop_spec(split=split))
    parts = defaultdict(set)
    for item in (await listed(service, version.name))[0]:
        parts[item.crop.source_digest].add(item.split)
    assert len(parts) == 12
    assert all(len(each) == 1 for each in parts.values())
    assert {part for each in parts.values() for part in each} == {"train", "val", "test"}
    # By these evaluations know images, and which of them to draw together.
    rows = await rows_of(version, tmp_path / "blobs")
    assert len({(row.asset, row.file_name) for row in rows}) == 24
    assert all(row.crop and row.group == row.crop.source_digest for row in rows)


async def test_all_that_is_left_out_is_counted(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    kept = Shape(Polygon(((10.0, 10.0), (40.0, 10.0), (40.0, 30.0))), "rbc", source_id="7", track_id=3)
    crowd = Shape(Box(0, 0, 50, 50), "rbc", crowd=True)
    shapes = [Shape(Box(0, 0, 4, 40), "rbc"), crowd, Shape(Tag(), "rbc"), Shape(Box(900, 9, 9, 9), "rbc"), kept]
    await picture(fake, tmp_path, 1, shapes)
    await picture(fake, tmp_path, 2, [Shape(Box(0, 0, 4, 4), "wbc")])
    await picture(fake, tmp_path, 3, [])
    version = await service.build(crop_spec(smallest_side=8))
    (item,) = (await listed(service, version.name))[0]
    assert (item.shapes[0].source_id, item.shapes[0].track_id, item.crop.label) == ("7", 3, "rbc")
    statistics = version.statistics
    assert dict(statistics.skipped_shapes) == {
        "smaller than 8 pixels": 2, "crowd": 1, "tag": 1, "outside the image": 1
    }  # fmt: skip
    assert dict(statistics.skipped_images) == {"no crop": 1, "no shapes": 1}
    assert (statistics.source_image_count, statistics.source_shape_count) == (3, 6)


async def test_boxes_that_are_all_too_small_are_told(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    await fill(fake, tmp_path, 2)
    source = await service.build()
    why = "2 no crop; of their shapes 4 smaller than 99 pixels"
    for name, whose in (("", "project's"), (source.name, "version's")):
        failed = await service.build(crop_spec(name, smallest_side=99))
        assert failed.error.message == f"none of the {whose} 2 images can be used for classify: {why}"


async def test_crops_of_a_version_without_a_part_are_told_what_can_be_done(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    await fill(fake, tmp_path, 2)
    source = await service.build()
    version = await service.build(crop_spec(source.name))
    (told,) = [one for one in version.warnings if one.code == "NO_TEST_IMAGES"]
    assert f"as in {source.name}" in told.message
    # Crops of a version take no other split.
    assert "divide by ratio" not in told.hint
    assert "build the version that is cut with boxes in test" in told.hint


async def test_a_picture_that_cannot_be_decoded_is_left_out(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    await fill(fake, tmp_path, 2)
    digest = next(iter(fake.assets.values())).digest.removeprefix("sha256:")
    await store_at(tmp_path / "blobs").put(f"{UID}/{digest}", b"no picture")
    version = await service.build(crop_spec())
    assert len((await listed(service, version.name))[0]) == 2
    assert dict(version.statistics.skipped_images) == {"cannot be decoded": 1}
    assert dict(version.statistics.skipped_shapes) == {"image cannot be decoded": 2}


async def test_equal_crops_are_one_version(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    await fill(fake, tmp_path, 4)
    source = await service.build()
    first, again = [await service.build(crop_spec(source.name, square=True)) for _ in range(2)]
    assert again.reused
    assert again.name == first.name
    other = await service.build(crop_spec(source.name, square=True, margin=0.2))
    assert not other.reused


async def test_crops_of_equal_bytes_are_compared_as_several(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    same = [Shape(Box(10, 20, 30, 40), name) for name in ("rbc", "wbc")]
    await picture(fake, tmp_path, 1, [*same, Shape(Box(60, 50, 20, 20), "wbc")])
    first = await service.build(crop_spec())
    await picture(fake, tmp_path, 1, [*same, same[0]])
    second = await service.build(crop_spec())
    found = await service.stub.CompareDatasetVersions(CompareDatasetVersionsRequest(name=first.name, other=second.name))
    assert (found.image_count, found.other_image_count) == (3, 3)
    assert (found.added_count, found.removed_count, found.relabelled_count) == (1, 1, 0)
    await picture(fake, tmp_path, 1, [*same, Shape(Box(10, 20, 30, 40), "platelets")])
    third = await service.build(crop_spec())
    found = await service.stub.CompareDatasetVersions(CompareDatasetVersionsRequest(name=second.name, other=third.name))
    assert (found.added_count, found.removed_count, found.relabelled_count) == (0, 0, 1)


async def test_classes_of_the_source_are_mapped_by_their_names(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    await fill(fake, tmp_path, 4)
    source = await service.build()
    spec = crop_spec(source.name)
    spec.class_mapping.update({"RBC": "cell", "WBC": "cell"})
    version = await service.build(spec)
    assert list(version.classes) == ["cell"]
    assert {item.crop.label for item in (await listed(service, version.name))[0]} == {"RBC", "WBC"}
    spec.class_mapping.update({"rbc": "cell"})
    status = await failure(service.create(spec))
    assert "has no such class; it has: RBC, WBC, Platelets" in status.message


async def test_what_cannot_be_is_told_all_at_once(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    await fill(fake, tmp_path, 2)
    source = await service.build()
    spec = crop_spec(source.name, margin=float("nan"), smallest_side=-1, split=DETECT.split)
    spec.task = TaskType.TASK_TYPE_DETECT
    status = await failure(service.create(spec))
    for field in ("crops: ", "crops.margin", "crops.smallest_side", "spec.split"):
        assert field in status.message
    plain = DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY, source=source.name)
    assert "a version only with `crops`" in (await failure(service.create(plain))).message
    for wrong in ("projects/other/datasets/d/versions/1", "projects/cells/datasets/?"):
        has(await failure(service.create(crop_spec(wrong))), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    has(await failure(service.create(crop_spec(f"{DATASET}/versions/9"))), grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    of_crops = await service.build(crop_spec(source.name))
    assert "no boxes" in (await failure(service.create(crop_spec(of_crops.name)))).message


async def test_a_source_that_is_deleted_ends_the_build(
    idle: Service, fake: FakeAnnotations, settings: DatasetSettings, annotation_target: str, tmp_path: Path
) -> None:
    await fill(fake, tmp_path, 2)
    source = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
        created = await idle.create(crop_spec((await idle.get(source.name)).name), parent=CROPS)
        await idle.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=f"{DATASET}/versions/1"))
        assert await builder.build_next()
    failed = await idle.get(created.name)
    assert error_info(failed.error).reason == "SOURCE_DELETED"


async def test_a_build_that_was_left_is_made_the_same_by_another(
    any_database_url: str,
    fake: FakeAnnotations,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def crash(*_: object) -> None:
        raise Crash

    await fill(fake, tmp_path, 4)
    async with serving(settings_for(tmp_path, any_database_url, annotation_target), start=False) as idle:
        created = await idle.create(crop_spec(), parent=CROPS)
        async with building(tmp_path, any_database_url, annotation_target) as first:
            with monkeypatch.context() as broken, pytest.raises(Crash):
                broken.setattr(BuildRun, "_put_index", crash)
                await first.build_next()
        left = {path.name for path in (tmp_path / "blobs").rglob("crops/*")}
        assert len(left) == 8
        await let_leases_run_out(any_database_url)
        async with building(tmp_path, any_database_url, annotation_target) as second:
            assert await second.build_next()
        rows = await rows_of(await idle.get(created.name), tmp_path / "blobs")
    assert {row.logical_key.rpartition("/")[2] for row in rows} == left


async def test_crops_go_with_their_version(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    housekeeper: Housekeeper,
) -> None:
    await fill(fake, tmp_path, 2)
    created = await idle.create(crop_spec(), parent=CROPS)
    async with building(tmp_path, settings.database_url, annotation_target) as builder:
        assert await builder.build_next()
    assert [*(tmp_path / "blobs").rglob("crops/*")]
    await idle.stub.DeleteDatasetVersion(DeleteDatasetVersionRequest(name=(await idle.get(created.name)).name))
    await housekeeper.tidy()
    assert not [*(tmp_path / "blobs").rglob("crops/*")]
