"""Which part each image of a version is in, and what becomes of those that have none."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.dataset.v1 import DatasetSpec, DatasetVersion, SplitPolicy
from bloomery_dataset.app import SCHEMA
from bloomery_dataset.store.tables import VERSIONS
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import DETECT, Service, box, rows_of


async def test_the_official_split_is_kept(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    for number, split in enumerate(["train", "val", "test"]):
        fake.add(number, [box()], split=split)
    fake.add(3, None)
    spec = DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL))

    version = await service.build(spec)

    assert [row.split for row in await rows_of(version, tmp_path / "blobs")] == ["train", "val", "test"]
    assert version.statistics.unassigned_count == 0


async def test_images_without_an_official_split_are_refused_until_somebody_says_where_they_go(
    service: Service, fake: FakeAnnotations
) -> None:
    for number, split in enumerate(["train", "val", "", ""]):
        fake.add(number, [box()], split=split)
    spec = DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL))

    version = await service.build(spec)

    assert (version.state, version.version) == (DatasetVersion.STATE_FAILED, 0)
    assert error_info(version.error).reason == "UNASSIGNED_IMAGES"
    assert "2 of the 4 images have no official split, such as images/000" in version.error.message
    assert "--unassigned train, val or test, or drop" in version.error.message


@pytest.mark.parametrize(
    ("unassigned", "parts", "left_out"),
    [
        ("train", ["train", "val", "train"], {}),
        ("test", ["train", "val", "test"], {}),
        ("drop", ["train", "val"], {"no official split": 1}),
        # As clients of before say it.
        ("none", ["train", "val"], {"no official split": 1}),
    ],
)
async def test_images_without_an_official_split_go_where_the_spec_says(
    service: Service,
    fake: FakeAnnotations,
    tmp_path: Path,
    unassigned: str,
    parts: list[str],
    left_out: dict[str, int],
) -> None:
    for number, split in enumerate(["train", "val", ""]):
        fake.add(number, [box()] * 10, split=split)
    policy = SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, unassigned=unassigned)

    version = await service.build(DatasetSpec(task=DETECT.task, split=policy))

    assert [row.split for row in await rows_of(version, tmp_path / "blobs")] == parts
    assert version.statistics.skipped_images == left_out
    assert version.spec.split.unassigned == ("drop" if left_out else unassigned)
    assert version.statistics.unassigned_count == (not left_out)
    assert [warning.code for warning in version.warnings] == (["NO_TEST_IMAGES"] if unassigned != "test" else [])


async def test_where_no_image_has_a_part_the_build_says_so(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    policy = SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, unassigned="drop")
    version = await service.build(DatasetSpec(task=DETECT.task, split=policy))
    assert error_info(version.error).reason == "NO_USABLE_IMAGES"
    assert "1 no official split" in version.error.message


@pytest.mark.parametrize("stored", ["train", "none", "val"])
async def test_a_version_is_found_again_wherever_images_without_a_split_would_have_gone(
    service: Service, fake: FakeAnnotations, database_url: str, stored: str
) -> None:
    fake.add(1, [box()], split="train")
    policy = SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL)
    first = await service.build(DatasetSpec(task=DETECT.task, split=policy))
    db = Database.connect(database_url, SCHEMA)
    async with db.write() as tx:
        spec: Any = (await tx.execute(sa.select(VERSIONS.c.spec))).scalar_one()
        spec["split"]["unassigned"] = stored
        await tx.execute(sa.update(VERSIONS).values(spec=spec))
    await db.close()

    again = await service.build(DatasetSpec(task=DETECT.task, split=policy))

    assert (again.name, again.reused) == (first.name, True)
    assert again.spec.split.unassigned == ("drop" if stored == "none" else stored)


async def test_versions_that_differ_in_where_an_image_went_are_two(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()], split="train")
    fake.add(2, [box()])
    policies = [SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, unassigned=each) for each in ("train", "val", "drop")]
    built = [await service.build(DatasetSpec(task=DETECT.task, split=policy)) for policy in policies]
    assert [version.version for version in built] == [1, 2, 3]


async def test_images_that_are_left_out_are_written_down_as_services_of_before_do(
    service: Service, fake: FakeAnnotations, database_url: str
) -> None:
    """They run beside new ones during an upgrade, and build what these were asked for."""
    fake.add(1, [box()], split="train")
    await service.build(
        DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, unassigned="drop"))
    )
    db = Database.connect(database_url, SCHEMA)
    async with db.read() as tx:
        spec: Any = (await tx.execute(sa.select(VERSIONS.c.spec))).scalar_one()
    await db.close()
    assert spec["split"]["unassigned"] == "none"


async def test_groups_stay_together(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    for number in range(30):
        fake.add(number, [box()], labels={"video": f"v{number % 6}"})
    spec = DatasetSpec(task=DETECT.task, split=SplitPolicy(seed=3, group_by="video"))

    rows = await rows_of(await service.build(spec), tmp_path / "blobs")

    assert len({(row.group, row.split) for row in rows}) == 6
    assert {row.group for row in rows} == {f"v{number}" for number in range(6)}


async def test_no_official_split_fails_and_says_what_else_to_do(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    spec = DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL))
    version = await service.build(spec)
    assert error_info(version.error).reason == "NO_OFFICIAL_SPLIT"
    assert "by ratio" in version.error.message
