"""What a version says about itself that its maker should know."""

import pytest

from bloomery.common.v1 import Problem
from bloomery.dataset.v1 import DatasetSpec, DatasetVersion, SplitPolicy
from bloomery_vision.geometry import Box, Shape
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import DETECT, Service, box

OFFICIAL = DatasetSpec(task=DETECT.task, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL))


def codes(version: DatasetVersion) -> list[str]:
    assert version.state == DatasetVersion.STATE_READY
    assert all(problem.severity == Problem.SEVERITY_WARNING and problem.hint for problem in version.warnings)
    return [problem.code for problem in version.warnings]


async def test_an_official_split_that_lies_in_one_part_is_told(service: Service, fake: FakeAnnotations) -> None:
    for number in range(7):
        fake.add(number, [box(), box()], split="train")

    version = await service.build(OFFICIAL)

    assert codes(version) == ["NO_VALIDATION_IMAGES", "NO_TEST_IMAGES"]
    assert "none of its 7 images" in version.warnings[0].message
    assert "import a list or folder" in version.warnings[0].hint
    assert await service.get(version.name) == version


async def test_too_few_images_for_the_shares_are_told(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()] * 10)
    assert codes(await service.build()) == ["NO_VALIDATION_IMAGES", "NO_TEST_IMAGES"]


@pytest.mark.parametrize("percents", [(100, 0, 0), (80, 20, 0)])
async def test_a_part_that_nobody_asked_for_is_not_missed(
    service: Service, fake: FakeAnnotations, percents: tuple[int, int, int]
) -> None:
    for number in range(5):
        fake.add(number, [box()] * 10)
    train, val, test = percents
    policy = SplitPolicy(train_percent=train, val_percent=val, test_percent=test)
    assert codes(await service.build(DatasetSpec(task=DETECT.task, split=policy))) == []


async def test_a_version_that_cannot_be_built_has_its_error_and_no_advice(
    service: Service, fake: FakeAnnotations
) -> None:
    fake.add(1, None)
    version = await service.build()
    assert version.state == DatasetVersion.STATE_FAILED
    assert not version.warnings


async def test_classes_that_cannot_be_learnt_or_judged_are_told(service: Service, fake: FakeAnnotations) -> None:
    for number in range(12):
        fake.add(number, [box("rbc"), *([box("wbc")] if number < 3 else [])], split="train")
    fake.add(20, [box("rbc"), box("platelets")], split="val")
    fake.add(21, [box("rbc")], split="test")
    version = await service.build(OFFICIAL)
    assert codes(version) == ["TINY_CLASS", "CLASS_WITHOUT_TRAINING_IMAGES", "CLASS_WITHOUT_VALIDATION_IMAGES"]
    tiny, untrained, unseen = (warning.message for warning in version.warnings)
    assert "(WBC: 3)" in tiny
    assert "(Platelets)" in untrained
    assert "(WBC)" in unseen


async def test_copies_of_an_image_in_several_parts_are_told(service: Service, fake: FakeAnnotations) -> None:
    for number, (name, split) in enumerate(
        [("a", "train"), ("a", "val"), ("b", "train"), ("b", "train"), ("c", "test")]
    ):
        fake.add(number, [box()] * 10, split=split, name=f"{name}_jpg.rf.{number:032x}.jpg")
    version = await service.build(OFFICIAL)
    assert codes(version) == ["COPIES_IN_SEVERAL_PARTS"]
    assert version.statistics.copies_apart == 2


async def test_sizes_of_objects_are_counted_as_shares_of_their_images(service: Service, fake: FakeAnnotations) -> None:
    for side in range(1, 12):
        fake.add(side, [Shape(Box(0, 0, 64 * side / 11, 400), "rbc")])
    sides = (await service.build()).statistics.relative_sides
    assert list(sides) == pytest.approx([side / 110 for side in range(1, 12)])
