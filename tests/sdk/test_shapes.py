"""Shapes as JSON that people and pycocotools read, and boxes around areas."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from bloomery._shapes import bounds, shape_from_json, shape_json
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake


def encoded(area: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> vision.Mask:
    made: Any = coco.encode(np.asfortranarray(area.astype(np.uint8)))
    return vision.Mask(width=area.shape[1], height=area.shape[0], counts=made["counts"])


@given(
    st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.0, 0.02, 0.3, 0.9]), st.randoms(use_true_random=False)
)
def test_the_box_around_a_mask_is_that_of_coco(width: int, height: int, density: float, random: Random) -> None:
    area = np.array([[random.random() < density for _ in range(width)] for _ in range(height)])
    mask = encoded(area)
    found = bounds(vision.Shape(mask=mask))
    expected = coco.toBbox({"size": [height, width], "counts": mask.counts}).tolist()
    assert ([found.x, found.y, found.width, found.height] if found else [0, 0, 0, 0]) == expected


def test_the_box_around_an_outline_holds_all_its_parts() -> None:
    rings = [vision.Ring(coordinates=[1, 2, 5, 2, 5, 8]), vision.Ring(coordinates=[20, 1, 30, 1, 30, 4])]
    assert bounds(vision.Shape(polygon=vision.Polygon(rings=rings))) == vision.Box(x=1, y=1, width=29, height=7)
    assert bounds(vision.Shape(polygon=vision.Polygon())) is None
    assert bounds(vision.Shape(tag=vision.Tag())) is None


def test_a_mask_in_json_is_what_pycocotools_takes() -> None:
    area = np.zeros((40, 60), bool)
    area[10:20, 30:45] = True
    found = shape_json(vision.Shape(mask=encoded(area), label="cell", confidence=0.5))
    given: Any = {"size": [found["mask"]["height"], found["mask"]["width"]], "counts": found["mask"]["counts"]}
    assert (coco.area(given), coco.toBbox(given).tolist()) == (150, [30, 10, 15, 10])
    assert found["bounds"] == {"x": 30.0, "y": 10.0, "width": 15.0, "height": 10.0}


SHAPES = (
    vision.Shape(box=vision.Box(x=1, y=2, width=3, height=4), label="rbc", attributes={"truncated": "1"}),
    vision.Shape(polygon=vision.Polygon(rings=[vision.Ring(coordinates=[0, 0, 4, 0, 4, 4])]), label="rbc", crowd=True),
    vision.Shape(mask=encoded(np.eye(12, dtype=bool)), label="rbc"),
    vision.Shape(tag=vision.Tag(), label="rbc", group_id=1 << 40),
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.WhichOneof("geometry")))
def test_what_was_written_is_read_back(shape: vision.Shape) -> None:
    assert shape_from_json(shape_json(shape)) == shape


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([1, 2], "must be an object"),
        ({"bx": {}}, "bx"),
        ({"box": {"x": "left"}}, "left"),
        ({"mask": {"width": 1, "height": 1, "counts": [1, 2]}}, "COCO's text"),
        ({"mask": {"width": 1, "height": 1, "counts": "ü"}}, "COCO's text"),
    ],
)
def test_what_is_no_shape_is_told(found: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        shape_from_json(found)


@pytest.mark.parametrize(
    "shape",
    [
        vision.Shape(mask=encoded(np.eye(3, 4) > 0)),
        vision.Shape(polygon=vision.Polygon(rings=[vision.Ring(coordinates=[0, 0, 3, 0, 3, 3])])),
    ],
    ids=["mask", "outline"],
)
def test_a_table_says_where_a_mask_or_an_outline_is(fake: Fake, run: Run, tmp_path: Path, shape: vision.Shape) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    fake.answer("Predict", inference.PredictResponse(shapes=[shape], variant=world.VARIANT.name))
    assert run("predict cells-v@1", str(tmp_path / "a.png")).stdout.rstrip().endswith("0.0 0.0 3.0 3.0")
