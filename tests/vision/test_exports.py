"""Label files that other programs wrote, read with the values that those programs read from them."""

import json
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pytest

from bloomery_vision.formats import Format
from bloomery_vision.geometry import Box, Polygon, Shape
from tests.vision.conftest import MakeImage
from tests.vision.folders import doubts, plan_of, read_folder

EVERY = sorted((Path(__file__).parent / "exports").glob("*.json"))
UNREAD = [path for path in EVERY if "unread" in json.loads(path.read_text(encoding="utf-8"))]
EXPORTS = [path for path in EVERY if path not in UNREAD]


def told(shape: Shape) -> Mapping[str, object]:
    """All of a shape but its id in the file, to two digits."""
    match shape.geometry:
        case Box() as box:
            place: Mapping[str, object] = {"box": rounded(box.x, box.y, box.x2, box.y2)}
        case Polygon() as polygon:
            place = {"polygon": [ring_of(*chain(*ring)) for ring in polygon.rings]}
        case other:
            pytest.fail(f"{other} is in none of these files")
    assert (shape.crowd, shape.group_id) == (False, None)
    facts = {"attributes": dict(shape.attributes), "track_id": shape.track_id}
    return {"label": shape.label, **place, **{name: fact for name, fact in facts.items() if fact not in ({}, None)}}


def ring_of(*numbers: float) -> list[float]:
    """An outline from its first corner on, whichever a program begins with."""
    points = list(zip(*[iter(rounded(*numbers))] * 2, strict=True))
    first = points.index(min(points))
    return list(chain(*points[first:], *points[:first]))


def from_one_corner(shape: dict[str, Any]) -> dict[str, Any]:
    return shape | {"polygon": [ring_of(*ring) for ring in shape["polygon"]]} if "polygon" in shape else shape


def rounded(*numbers: float) -> list[float]:
    return [round(number, 2) for number in numbers]


def opened(path: Path, make_image: MakeImage) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
    """What is told of an export, and its files with images."""
    export: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    files = {name: text.encode() for name, text in cast("Mapping[str, str]", export["files"]).items()}
    return export, files | {name: make_image(*size) for name, size in export["images"].items()}


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_an_export_is_read_as_its_program_means_it(path: Path, make_image: MakeImage) -> None:
    export, files = opened(path, make_image)
    plan = plan_of(files)
    assert [label.name for label in plan.labels] == export["labels"]
    assert doubts(plan) == export["doubts"]
    items = read_folder(files)
    assert Counter(problem.code for item in items.values() for problem in item.problems) == export.get("problems", {})
    assert items.keys() == export["expected"].keys()
    for name, expected in export["expected"].items():
        item = items[name]
        assert (item.split, item.annotated) == (expected["split"], expected["annotated"]), name
        assert [told(shape) for shape in item.shapes] == list(map(from_one_corner, expected["shapes"])), name


@pytest.mark.parametrize("path", UNREAD, ids=lambda path: path.stem)
def test_an_export_in_a_format_that_is_not_read_is_named(path: Path, make_image: MakeImage) -> None:
    export, files = opened(path, make_image)
    [stop] = plan_of(files).stops
    assert (stop.code, export["unread"] in stop.message) == ("UNKNOWN_FORMAT", True), stop
    assert set(plan_of(files, Format.IMAGES).images) == export["expected"].keys()
