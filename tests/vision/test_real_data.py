"""The readers on sets that people made."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from bloomery_vision.formats import FolderSource, Format, ImportItem, Plan, read, understand
from bloomery_vision.formats.lookup import is_image
from bloomery_vision.geometry import Mask, Polygon
from bloomery_vision.images import decode, probe


def read_folder(folder: Path, expected: Format) -> list[ImportItem]:
    source = FolderSource(folder)
    plan = understand(source)
    assert plan.format is expected
    assert not plan.doubts
    return list(read(source, plan))


def plan_of(folder: Path) -> Plan:
    return understand(FolderSource(folder))


def labels(items: Iterable[ImportItem]) -> Counter[str]:
    return Counter(shape.label for item in items for shape in item.shapes)


def problems(items: Iterable[ImportItem]) -> Counter[str]:
    return Counter(problem.code for item in items for problem in item.problems)


def splits(items: Iterable[ImportItem]) -> Counter[str | None]:
    return Counter(item.split for item in items)


def test_blood_cells(test_data: Path) -> None:
    items = read_folder(test_data / "blood-cells", Format.VOC)
    assert len(items) == 364
    assert labels(items) == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    assert splits(items) == {"train": 205, "val": 87, "test": 72}
    assert {(item.width, item.height) for item in items} == {(640, 480)}
    # Two stray clicks: RBC in 00338 and 00343.
    assert problems(items) == {"ONE_PIXEL": 2}
    found = plan_of(test_data / "blood-cells").labels
    assert [label.name for label in found] == ["Platelets", "RBC", "WBC"]


def test_raccoons(test_data: Path) -> None:
    items = read_folder(test_data / "raccoons", Format.VOC)
    assert len(items) == 200
    assert labels(items) == {"raccoon": 217}
    assert splits(items) == {None: 200}
    assert problems(items) == {}


def test_coco_tiny(test_data: Path) -> None:
    items = read_folder(test_data / "coco-tiny", Format.COCO)
    assert len(items) == 38
    assert splits(items) == {"train": 32, "val": 6}
    found = labels(items)
    assert found.total() == 424
    assert (found["person"], found["car"], len(found)) == (111, 34, 43)
    shapes = [shape for item in items for shape in item.shapes]
    assert sum(isinstance(shape.geometry, Polygon) for shape in shapes) == 419
    assert sum(isinstance(shape.geometry, Mask) and shape.crowd for shape in shapes) == 5
    assert problems(items) == {"SELF_INTERSECTION": 2}
    assert len(plan_of(test_data / "coco-tiny").labels) == 80


@pytest.mark.parametrize("name", ["blood-cells", "raccoons", "coco-tiny"])
def test_no_item_fails_and_each_image_is_there_once(test_data: Path, name: str) -> None:
    source = FolderSource(test_data / name)
    items = list(read(source, understand(source)))
    assert sorted(item.image_path for item in items) == [name for name in source.names() if is_image(name)]
    assert not any(item.failed for item in items)
    assert all(item.annotated for item in items)


@pytest.mark.parametrize("name", ["blood-cells", "raccoons", "coco-tiny"])
def test_images_have_the_size_that_is_told(test_data: Path, name: str) -> None:
    for path in sorted((test_data / name).rglob("*.jpg"))[::20]:
        info = probe(path)
        assert decode(path).shape == (info.height, info.width, 3)
