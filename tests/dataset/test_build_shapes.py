"""Which shapes a version keeps of those that people drew, and in which form."""

from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetSpec
from bloomery.vision.v1 import TaskType
from bloomery_kit.errors import error_info
from bloomery_vision.geometry import Box, Mask, Polygon, Shape, Tag
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import DETECT, TRIANGLE, Service, box, rows_of


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


async def test_images_that_nobody_annotated_are_background_only_where_asked_for(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fake.add(1, [box()])
    fake.add(2, None)

    version = await service.build(DatasetSpec(task=DETECT.task, include_unannotated=True))

    assert [len(row.shapes) for row in await rows_of(version, tmp_path / "blobs")] == [1, 0]
    assert not version.statistics.skipped_images
    assert version.spec.include_unannotated


async def test_tags_alone_make_no_dataset_for_segmentation(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [Shape(Tag(), "rbc")])

    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_SEGMENT, include_empty=True))

    assert error_info(version.error).reason == "NO_USABLE_SHAPES"
    assert "1 left out: tag" in version.error.message
