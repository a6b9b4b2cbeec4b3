"""The fingerprint of a plan tells readings apart that look alike where they are shown."""

from dataclasses import replace
from typing import Any

import pytest

from bloomery_annotation.importer import fingerprint as own
from bloomery_annotation.importer.fingerprint import fingerprint
from bloomery_vision.formats import Format, Plan
from bloomery_vision.formats.model import LabelSpec, Split
from bloomery_vision.formats.plan import YoloRows

PLAN = Plan(
    Format.VOC,
    images=["a.png", "b.png"],
    label_files=["1.xml", "2.xml", "3.xml", "4.xml"],
    label_of={"a.png": "1.xml", "b.png": "2.xml"},
    more_labels={"a.png": ["3.xml", "4.xml"]},
    splits={"a.png": "train", "b.png": "val"},
)


@pytest.mark.parametrize(
    "other",
    [
        {"format": Format.COCO},
        {"images": ["b.png", "a.png"]},
        {"label_files": ["2.xml", "1.xml", "3.xml", "4.xml"]},
        {"label_of": {"a.png": "2.xml", "b.png": "1.xml"}},
        {"more_labels": {"a.png": ["4.xml", "3.xml"]}},
        {"more_labels": {"b.png": ["3.xml", "4.xml"]}},
        {"splits": {"a.png": "val", "b.png": "train"}},
        {"pixel_origin": 0},
        {"rows": YoloRows(scores=True)},
        {"labels": [LabelSpec("cat", "#ff0000")]},
    ],
)
def test_what_decides_what_is_read_makes_another_fingerprint(other: dict[str, Any]) -> None:
    assert fingerprint(PLAN) == fingerprint(replace(PLAN))
    assert fingerprint(replace(PLAN, **other)) != fingerprint(PLAN)


def test_readers_of_another_version_make_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(PLAN)
    monkeypatch.setattr(own, "READING", own.READING + 1)
    assert fingerprint(PLAN) != before


def test_names_with_halves_of_characters_have_a_fingerprint() -> None:
    splits: dict[str, Split] = {"\ud800.png": "train"}
    assert fingerprint(replace(PLAN, images=["\ud800.png"], splits=splits)) != fingerprint(PLAN)
