"""Label files that other programs wrote, read with the values that those programs read from them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from bloomery_vision.geometry import Shape
from tests.vision.conftest import MakeImage
from tests.vision.folders import doubts, plan_of, read_folder

EXPORTS = sorted((Path(__file__).parent / "exports").glob("*.json"))


def corners(shape: Shape) -> list[object]:
    box = shape.geometry.bounds
    assert box is not None
    return [shape.label, box.x, box.y, box.x2, box.y2]


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_an_export_is_read_as_its_program_means_it(path: Path, make_image: MakeImage) -> None:
    export = json.loads(path.read_text(encoding="utf-8"))
    files = {name: text.encode() for name, text in cast("Mapping[str, str]", export["files"]).items()}
    files |= {name: make_image(*size) for name, size in export["images"].items()}
    plan = plan_of(files)
    assert [label.name for label in plan.labels] == export["labels"]
    assert doubts(plan) == export["doubts"]
    items = read_folder(files)
    assert not [problem for item in items.values() for problem in item.problems]
    assert items.keys() == export["expected"].keys()
    for name, expected in export["expected"].items():
        item = items[name]
        assert (item.split, item.annotated) == (expected["split"], expected["annotated"]), name
        found = [corners(shape) for shape in item.shapes]
        assert [label for label, *_ in found] == [label for label, *_ in expected["boxes"]]
        for (_, *numbers), (_, *wanted) in zip(found, expected["boxes"], strict=True):
            assert numbers == pytest.approx(wanted, abs=0.01), name
