"""Texts that are broken, or made to be slow, are understood in time that grows with their length, not faster.

Each of these would take minutes, some years, if a search began anew at every character; the suite's time limit tells.
"""

import pytest

from bloomery_vision.formats.class_files import classes_in
from bloomery_vision.formats.coco_objects import parse_object
from bloomery_vision.formats.model import FormatError
from tests.vision.folders import doubts, plan_of, voc, voc_object

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize(
    "content",
    [
        "item{" * 400_000,
        "item {" + " " * 400_000,
        "item{ id:1 " * 200_000 + "}",
        "item{ id:1 " * 200_000 + "}" * 200_000,
        "item { id: 1 name: 'cat' }" + "\"'" * 400_000,
    ],
    ids=["no end", "blanks in an item", "one end", "all ends together", "quotes"],
)
def test_a_label_map_that_is_broken(content: str) -> None:
    with pytest.raises(FormatError) as caught:
        classes_in("label_map.pbtxt", content)
    assert caught.value.code == "BROKEN_CONFIG"


def test_a_label_map_without_items() -> None:
    assert not classes_in("label_map.pbtxt", "item" + " " * 400_000)


@pytest.mark.parametrize("line", [" ".join(["0", *["1111111111"] * 100, "x"]), "1" * 2000 + "x"])
def test_a_label_file_of_long_numbers_that_ends_as_none(photo: bytes, line: str) -> None:
    plan = plan_of({"images/a.jpg": photo, "labels/a.txt": line.encode(), "classes.txt": b"cat"})
    assert not plan.label_of


def test_a_configuration_behind_thousands_of_empty_lines(photo: bytes) -> None:
    files = {"images/a.jpg": photo, "labels/a.txt": b"0 .5 .5 .2 .2"}
    other = b"a: 1" + b"\n" * 200_000 + b"b: 1"
    plan = plan_of(files | {"other.yaml": other, "data.yaml": b"\n" * 1000 + b" { 'names' : [cat]}"})
    assert [label.name for label in plan.labels] == ["cat"]


def test_a_line_of_a_split_list_that_is_mostly_blank(photo: bytes) -> None:
    line = b"images/b" + b" " * 400_000 + b"2\nimages/a.jpg   -1"
    plan = plan_of({"images/a.jpg": photo, "labels/a.txt": b"", "classes.txt": b"cat", "train.txt": line})
    assert plan.splits == {"images/a.jpg": "train"}


def test_a_number_of_coco_that_is_a_long_text() -> None:
    found = parse_object((1, ["1" * 400_000 + "x", 1, 1, 1], None), {"1": "cat"})
    assert "holds what is no number" in getattr(found, "message", "")


def test_a_declaration_of_xml_that_does_not_end(photo: bytes) -> None:
    content = b"<?xml " + b"encoding='a' " * 100_000
    plan = plan_of({"a.jpg": photo, "a.xml": content, "b.jpg": photo, "b.xml": voc(voc_object(1, 1, 9, 9))})
    assert "b.jpg" in plan.label_of


def test_a_list_of_very_many_classes(photo: bytes) -> None:
    names = [f"{number} class{number}" for number in range(30_000)] + ["30000 class7"]
    files = {"images/a.jpg": photo, "labels/a.txt": b"1 .5 .5 .2 .2", "classes.txt": "\n".join(names).encode()}
    plan = plan_of(files)
    assert [label.name for label in plan.labels[:2]] == ["class0", "class1"]
    assert doubts(plan) == {"DUPLICATE_CLASS": 1}
