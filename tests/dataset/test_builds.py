"""What a build makes of a project, through real servers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.dataset.v1 import DatasetSpec, DatasetVersion, SplitPolicy, WatchDatasetVersionRequest
from bloomery.vision.v1 import TaskType
from bloomery_dataset.app import SCHEMA
from bloomery_dataset.store.tables import VERSIONS
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from bloomery_vision.geometry import Box, Mask, Polygon, Shape, Tag
from tests.dataset.annotations import UID, FakeAnnotations
from tests.dataset.helpers import DATASET, DETECT, PARENT, Service, box, rows_of, until

TRIANGLE = Polygon(((10.0, 10.0), (30.0, 10.0), (30.0, 50.0)))


async def test_a_version_holds_every_image_once_with_its_shapes(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    for number in range(20):
        fake.add(number, [box("rbc", number), box("wbc")] if number % 2 else [box("rbc", number)])

    created = await service.create()
    assert created.state == DatasetVersion.STATE_BUILDING
    assert created.name == f"{DATASET}/versions/{created.uid}"
    assert created.version == 0
    version = await service.finish(created.name)

    assert version.state == DatasetVersion.STATE_READY
    assert version.name == f"{DATASET}/versions/1"
    assert (version.done_count, version.item_count) == (20, 20)
    assert list(version.classes) == ["RBC", "WBC", "Platelets"]
    assert {part.split: part.image_count for part in version.statistics.splits} == {"train": 14, "val": 4, "test": 2}
    assert sum(part.shapes["RBC"] for part in version.statistics.splits) == 20
    assert sum(part.images["WBC"] for part in version.statistics.splits) == 10
    assert list(version.statistics.image_sides) == [640, 640, 480, 480]
    assert version.statistics.total_bytes == sum(1000 + number for number in range(20))
    rows = await rows_of(version, tmp_path / "blobs")
    assert [row.file_name for row in rows] == [f"{number:04d}.jpg" for number in range(20)]
    assert rows[3].shapes == (Shape(Box(3, 2, 30, 40), "RBC"), Shape(Box(1, 2, 30, 40), "WBC"))
    assert rows[3].logical_key == f"{UID}/{rows[3].digest.removeprefix('sha256:')}"
    assert fake.of_versions == {f"{DATASET}/versions/{version.uid}"}


async def test_the_next_version_counts_on_and_latest_means_the_newest(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    first = await service.build()
    fake.add(2, [box()])
    second = await service.build()

    assert [first.version, second.version] == [1, 2]
    assert await service.get(f"{DATASET}/versions/latest") == second
    assert await service.get(f"{DATASET}/versions/1") == first
    assert await service.get(f"{DATASET}/versions/{first.uid}") == first


async def test_unchanged_content_ends_with_the_earlier_version(service: Service, fake: FakeAnnotations) -> None:
    asset = fake.add(1, [box()])
    first = await service.build()
    fake.edit(asset, [box("wbc")])
    second = await service.build()
    fake.edit(asset, [box()])

    third = await service.create()
    ended = await service.finish(third.name)

    assert (ended.name, ended.reused, ended.uid) == (first.name, True, first.uid)
    assert not (await service.get(first.name)).reused
    assert await service.get(third.name) == ended
    assert (await service.build(DatasetSpec(task=DETECT.task))).version == 3, "another spec is another version"
    holders = {f"{DATASET}/versions/{uid}" for uid in (first.uid, second.uid)}
    await until(lambda: holders <= fake.of_versions and f"{DATASET}/versions/{third.uid}" not in fake.of_versions)


async def test_the_same_request_makes_one_version(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    answers = await asyncio.gather(*(service.create(request_id="r") for _ in range(3)))
    assert len({answer.uid for answer in answers}) == 1
    await service.finish(answers[0].name)
    assert await service.create(request_id="r") == answers[0]


async def test_boxes_are_what_detection_keeps(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    mask = Mask.from_runs(640, 480, [480 * 10 + 20, 5, 475, 5, 640 * 480 - 480 * 11 - 25])
    crowd = Shape(Box(0, 0, 9, 9), "rbc", crowd=True)
    fake.add(1, [Shape(TRIANGLE, "rbc"), Shape(mask, "wbc"), Shape(Tag(), "rbc"), crowd])

    version = await service.build()

    row = (await rows_of(version, tmp_path / "blobs"))[0]
    assert [shape.geometry for shape in row.shapes] == [Box(10, 10, 20, 40), Box(10, 20, 2, 5), Box(0, 0, 9, 9)]
    assert [shape.crowd for shape in row.shapes] == [False, False, True]
    assert version.statistics.skipped_shapes == {"tag": 1}
    assert version.statistics.splits[0].shapes == {"RBC": 1, "WBC": 1}
    assert version.statistics.splits[0].crowd_count == 1


async def test_outlines_and_masks_are_what_segmentation_keeps(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    mask = Mask.from_runs(640, 480, [480 * 10 + 20, 5, 475, 5, 640 * 480 - 480 * 11 - 25])
    dot = Mask.from_runs(640, 480, [480 * 10 + 20, 1, 640 * 480 - 480 * 10 - 21])
    crowd = Shape(TRIANGLE, "rbc", crowd=True)
    fake.add(1, [Shape(TRIANGLE, "rbc"), Shape(mask, "wbc"), Shape(dot, "wbc"), crowd])

    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT))

    row = (await rows_of(version, tmp_path / "blobs"))[0]
    assert [shape.geometry for shape in row.shapes] == [TRIANGLE, mask, dot, TRIANGLE]
    assert [shape.crowd for shape in row.shapes] == [False, False, False, True]
    assert not version.statistics.skipped_shapes
    assert version.statistics.splits[0].shapes == {"RBC": 1, "WBC": 2}
    assert version.statistics.splits[0].crowd_count == 1


async def test_boxes_are_outlines_of_four_corners_to_segmentation(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fake.add(1, [Shape(TRIANGLE, "rbc")])
    fake.add(2, [box(), box(x=5)])

    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT))

    row = (await rows_of(version, tmp_path / "blobs"))[1]
    assert row.shapes[0].geometry == Polygon(((1, 2), (31, 2), (31, 42), (1, 42)))
    assert version.statistics.adjusted_shapes == {"box as four corners": 2}
    assert not version.statistics.skipped_shapes


@pytest.mark.parametrize(
    ("task", "kept"),
    [
        (TaskType.TASK_TYPE_DETECT, [Box(600, 0, 40, 20), Box(600, 10, 40, 30)]),
        (
            TaskType.TASK_TYPE_SEGMENT,
            [
                Polygon(((600, 0), (640, 0), (640, 20), (600, 20))),
                Polygon(((600, 10), (640, 10), (640, 25), (600, 40))),
            ],
        ),
    ],
)
async def test_what_sticks_out_of_an_image_is_cut_and_counted(
    service: Service, fake: FakeAnnotations, tmp_path: Path, task: TaskType.ValueType, kept: list[object]
) -> None:
    outline = Polygon(((600.0, 10.0), (680.0, 10.0), (600.0, 40.0)))
    fake.add(1, [Shape(Box(600, -20, 100, 40), "rbc"), Shape(outline, "rbc"), Shape(Box(640, 0, 9, 9), "rbc")])

    version = await service.build(DatasetSpec(task=task))

    row = (await rows_of(version, tmp_path / "blobs"))[0]
    assert [shape.geometry for shape in row.shapes] == kept
    assert version.statistics.adjusted_shapes["cut at the edge"] == 2
    assert version.statistics.skipped_shapes == {"outside the image": 1}


async def test_one_tag_is_what_classification_needs(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    fake.add(1, [Shape(Tag(), "rbc"), box("wbc")])
    fake.add(2, [Shape(Tag(), "rbc"), Shape(Tag(), "wbc")])
    fake.add(3, [box()])
    fake.add(4, None)

    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY))

    rows = await rows_of(version, tmp_path / "blobs")
    assert [row.shapes for row in rows] == [(Shape(Tag(), "RBC"),)]
    assert version.statistics.skipped_images == {"several tags": 1, "no tag": 1, "not annotated": 1}


async def test_background_is_taken_where_somebody_said_so(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    fake.add(2, [])
    fake.add(3, None)
    spec = DatasetSpec()
    spec.CopyFrom(DETECT)

    without = await service.build(spec)
    spec.include_empty = True
    with_them = await service.build(spec)

    assert without.statistics.skipped_images == {"no shapes": 1, "not annotated": 1}
    assert with_them.statistics.skipped_images == {"not annotated": 1}
    assert sum(part.empty_count for part in with_them.statistics.splits) == 1
    assert with_them.item_count == 2


async def test_labels_are_mapped_to_classes(service: Service, fake: FakeAnnotations, tmp_path: Path) -> None:
    fake.add(1, [box("rbc"), box("platelets"), box("wbc")])
    spec = DatasetSpec(task=DETECT.task, class_mapping={"platelets": "cell", "rbc": "cell", "wbc": ""})

    version = await service.build(spec)

    assert list(version.classes) == ["cell"]
    assert [shape.label for shape in (await rows_of(version, tmp_path / "blobs"))[0].shapes] == ["cell", "cell"]
    assert version.statistics.skipped_shapes == {"unmapped label": 1}


async def test_labels_that_the_mapping_does_not_name_keep_their_names(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box("rbc"), box("platelets"), box("wbc")])
    spec = DatasetSpec(task=DETECT.task, class_mapping={"rbc": "cell", "platelets": ""}, keep_unmapped=True)

    version = await service.build(spec)

    assert (list(version.classes), version.spec.keep_unmapped) == (["cell", "WBC"], True)
    assert version.statistics.skipped_shapes == {"unmapped label": 1}


async def test_what_becomes_of_unmapped_labels_makes_no_other_version_where_nothing_is_mapped(
    service: Service, fake: FakeAnnotations
) -> None:
    fake.add(1, [box()])
    versions = [await service.build(DatasetSpec(task=DETECT.task, keep_unmapped=kept)) for kept in (True, False)]

    assert [version.version for version in versions] == [1, 1]


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
        fake.add(number, [box()], split=split)
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


async def test_images_that_nobody_annotated_are_background_only_where_asked_for(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fake.add(1, [box()])
    fake.add(2, None)

    version = await service.build(DatasetSpec(task=DETECT.task, include_unannotated=True))

    assert [len(row.shapes) for row in await rows_of(version, tmp_path / "blobs")] == [1, 0]
    assert not version.statistics.skipped_images
    assert version.spec.include_unannotated


async def test_a_version_whose_spec_was_stored_with_fewer_fields_is_found_again(
    service: Service, fake: FakeAnnotations, database_url: str
) -> None:
    fake.add(1, [box()])
    first = await service.build()
    db = Database.connect(database_url, SCHEMA)
    async with db.write() as tx:
        spec: Any = (await tx.execute(sa.select(VERSIONS.c.spec))).scalar_one()
        del spec["include_unannotated"], spec["split"]["unassigned"]
        await tx.execute(sa.update(VERSIONS).values(spec=spec))
    await db.close()

    again = await service.build()

    assert (again.name, again.reused) == (first.name, True)


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


@pytest.mark.parametrize(
    ("spec", "reason", "hint"),
    [
        (DETECT, "NO_USABLE_IMAGES", "3 not annotated"),
        (DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY), "NO_USABLE_IMAGES", "classify"),
    ],
)
async def test_a_project_without_a_usable_image_fails_and_says_why(
    service: Service, fake: FakeAnnotations, spec: DatasetSpec, reason: str, hint: str
) -> None:
    for number in range(3):
        fake.add(number, None)

    version = await service.build(spec)

    assert version.state == DatasetVersion.STATE_FAILED
    assert error_info(version.error).reason == reason
    assert hint in version.error.message
    assert version.version == 0
    await until(lambda: not fake.of_versions)
    fake.add(9, [box()])
    assert (await service.build()).version == 1, "a failed build takes no number"


async def test_tags_alone_make_no_dataset_for_segmentation(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [Shape(Tag(), "rbc")])

    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT, include_empty=True))

    assert error_info(version.error).reason == "NO_USABLE_SHAPES"
    assert "1 left out: tag" in version.error.message


async def test_no_official_split_fails_and_says_what_else_to_do(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    spec = DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL))
    version = await service.build(spec)
    assert error_info(version.error).reason == "NO_OFFICIAL_SPLIT"
    assert "by ratio" in version.error.message


async def test_a_project_without_labels_fails(service: Service, fake: FakeAnnotations) -> None:
    fake.labels = []
    fake.add(1, [])
    version = await service.build()
    assert error_info(version.error).reason == "NO_CLASSES"


async def test_a_watch_shows_states_in_order_and_skips_those_seen(service: Service, fake: FakeAnnotations) -> None:
    fake.gate = asyncio.Event()
    for number in range(6):
        fake.add(number, [box()])
    created = await service.create()
    states: list[DatasetVersion] = []
    async for state in service.stub.WatchDatasetVersion(WatchDatasetVersionRequest(name=created.name)):
        states.append(state)
        fake.gate.set()

    sequences = [state.sequence for state in states]
    assert sequences == sorted(sequences)
    assert states[-1].state == DatasetVersion.STATE_READY
    request = WatchDatasetVersionRequest(name=states[-1].name, after_sequence=sequences[-1])
    assert [state async for state in service.stub.WatchDatasetVersion(request, timeout=5)] == []


async def test_same_content_gives_the_same_hash_in_another_dataset(service: Service, fake: FakeAnnotations) -> None:
    for number in range(12):
        fake.add(number, [box()])
    first = await service.build()
    other = await service.finish((await service.create(parent=f"{PARENT}/datasets/other")).name)
    assert other.content_hash == first.content_hash
    assert (other.version, other.reused) == (1, False)
