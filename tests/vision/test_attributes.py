"""Attributes of COCO files come back from an export as what they were, though they are kept as text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.formats.attributes import as_text, as_value
from bloomery_vision.geometry import Box
from tests.vision.folders import annotation, coco, doubts, plan_of, read_folder

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(VALUES)
def test_a_value_comes_back_as_what_it_was(value: object) -> None:
    again = as_value(as_text(value))
    assert (again, type(again)) == (value, type(value))


@pytest.mark.parametrize("literal", ["1", "-0.5", "true", "null", "[1, 2]", '"cat"'])
def test_a_text_that_reads_like_a_number_stays_text(literal: str) -> None:
    assert as_text(literal) != literal
    assert as_value(as_text(literal)) == literal


@pytest.mark.parametrize("text", ["", "cat", "007", "1.50", "True", "1e3", "[1,2]", "-Infinity", "[NaN]", '"cat', "-"])
def test_a_text_of_people_stands_for_itself(text: str) -> None:
    assert as_text(text) == text
    assert as_value(text) == text


def test_people_read_attributes_as_they_would_write_them() -> None:
    values = [True, 2, 0.5, "left", ["a", "é"]]
    assert list(map(as_text, values)) == ["true", "2", "0.5", "left", '["a", "é"]']


def test_what_nests_too_deeply_is_left_out() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert as_text(deep) == "..."
    assert as_value("[" * 100_000) == "[" * 100_000


def test_the_attributes_of_an_annotation_are_all_read(photo: bytes) -> None:
    attributes = {"occluded": False, "grade": 2.5, "seen": None, "tags": ["a"], "plate": "123"}
    item = read_folder({"a.png": photo, "a.json": coco(annotation(attributes=attributes))})["a.png"]
    assert item.shapes[0].attributes == {"occluded": "false", "grade": "2.5", "tags": '["a"]', "plate": '"123"'}


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"attributes": {"n": None, "m": {"k": None}}}, "attributes/n"),
        ({"attributes": {"rotation": "left"}}, "attributes/rotation"),
        ({"attributes": {"rotation": float("nan")}}, "attributes/rotation"),
        ({"attributes": {"rotation": None}}, "attributes/rotation"),
        ({"attributes": "text"}, "attributes"),
        ({"attributes": [1]}, "attributes"),
        ({"attributes": 5}, "attributes"),
        ({"score": "high"}, "score"),
        ({"score": [0.5]}, "score"),
    ],
)
def test_attributes_and_scores_that_are_not_kept_are_a_doubt(photo: bytes, more: dict[str, Any], key: str) -> None:
    files = {"a.png": photo, "a.json": coco(annotation(**more), annotation(id=2, bbox=[50, 50, 9, 9]))}
    first, _ = read_folder(files)["a.png"].shapes
    assert key.rpartition("/")[2] not in first.attributes
    plan = plan_of(files)
    assert doubts(plan) == {"KEYS_NOT_READ": 1}
    assert plan.doubts[0].example == f"a.json: {key}"
    assert plan.doubts[0].message.endswith(f": {key}")


@pytest.mark.parametrize(
    "more",
    [
        {"attributes": None, "score": None},
        {"attributes": {}, "score": 0.5},
        {"attributes": "", "score": ""},
        {"attributes": [], "score": 1},
        {"attributes": {"a": False, "b": "", "c": 0, "d": [None], "rotation": 30}},
        {"attributes": {"rotation": 0}},
        {"attributes": {"rotation": 10**400}},
    ],
)
def test_attributes_that_say_nothing_or_are_told_or_kept_are_no_doubt(photo: bytes, more: dict[str, Any]) -> None:
    assert not plan_of({"a.png": photo, "a.json": coco(annotation(**more))}).doubts


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"keypoints": [5, 5, 2], "num_keypoints": 1, "bones": {"a": 1}}, {"KEYS_NOT_READ": 2}),
        ({"ignore": 0, "keypoints": [], "caption_of": "", "pose": None}, {}),
        ({"area": 5, "category_name": "cell", "isbbox": True, "color": "#ff0000", "width": 100, "height": 80}, {}),
    ],
    ids=["something", "nothing", "said elsewhere"],
)
def test_values_under_other_keys_are_a_doubt_where_they_say_something(
    photo: bytes, more: dict[str, Any], told: dict[str, int]
) -> None:
    files = {"a.png": photo, "a.json": coco(annotation(**more), annotation(id=2, bbox=[50, 50, 9, 9]))}
    plan = plan_of(files)
    assert not any(shape.attributes for shape in read_folder(files)["a.png"].shapes)
    assert doubts(plan) == told
    for doubt in plan.doubts:
        assert doubt.message == "values of annotations are not read: bones, keypoints"
        assert doubt.example == "a.json: bones"


def test_plain_values_under_other_keys_are_attributes(photo: bytes) -> None:
    more = {"wet": False, "grade": 0.0, "note": "left", "ignore": 1, "attributes": {"note": "right"}}
    files = {"a.png": photo, "a.json": coco(annotation(**more))}
    (shape,) = read_folder(files)["a.png"].shapes
    assert shape.attributes == {"wet": "false", "grade": "0.0", "note": "right", "ignore": "1"}
    assert not plan_of(files).doubts


def test_however_many_keys_a_file_has_a_message_names_few(photo: bytes) -> None:
    records = [annotation(id=number, **{f"{'long' * 100}{number}": [1]}) for number in range(500)]
    (doubt,) = plan_of({"a.png": photo, "a.json": coco(*records)}).doubts
    assert doubt.count == 500
    assert len(json.dumps(doubt.message)) < 1000


@pytest.mark.parametrize("rotation", [1.5707, 90, "left"])
def test_a_rotation_of_an_unknown_meaning_turns_nothing_and_is_a_doubt(photo: bytes, rotation: object) -> None:
    files = {"a.png": photo, "a.json": coco(annotation(rotation=rotation, grade=2))}
    (shape,) = read_folder(files)["a.png"].shapes
    assert isinstance(shape.geometry, Box)
    assert shape.attributes == {"grade": "2"}
    assert doubts(plan_of(files)) == {"KEYS_NOT_READ": 1}
    assert "rotation" in plan_of(files).doubts[0].message + plan_of(files).doubts[0].example
