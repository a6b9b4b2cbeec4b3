"""Labels that were drawn on the stored pixels of a photograph lie right on the photograph as it is shown."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bloomery_vision.formats import Format, ImportItem
from bloomery_vision.geometry import Box, Mask, Polygon
from bloomery_vision.images import decode
from bloomery_vision.orientation import SIDEWAYS, turned
from tests.vision.folders import codes, items_of, voc, voc_object

WIDTH, HEIGHT = 32, 24
BOX = (3, 5, 12, 9)
"""x, y, x2, y2 of a white rectangle in the stored pixels."""


def photograph(orientation: int, kind: str = "PNG") -> bytes:
    """A black picture with a white rectangle, and a tag by which it is shown."""
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.paste((255, 255, 255), BOX)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif)
    return stream.getvalue()


def seen(content: bytes) -> Box:
    """Where the rectangle is in the photograph as it is shown."""
    return Mask.from_array(decode(content)[:, :, 0] > 127).bounds


def stored_mask() -> Mask:
    array = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    array[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    array[BOX[1], BOX[0]] = False
    return Mask.from_array(array)


def coco(*, size: tuple[int, int] = (WIDTH, HEIGHT), maker: str = "") -> bytes:
    x, y, x2, y2 = BOX
    outline = [x, y, x2, y, x2, y2, x, y2]
    mask = {"size": [HEIGHT, WIDTH], "counts": stored_mask().counts.decode()}
    box = [x, y, x2 - x, y2 - y]
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "width": size[0], "height": size[1]}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": box},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [outline]},
            {"id": 3, "image_id": 1, "category_id": 1, "segmentation": mask, "bbox": box},
        ],
    }
    return json.dumps(content | ({"info": {"contributor": maker}} if maker else {})).encode()


def read_coco(content: bytes, label: bytes) -> ImportItem:
    return items_of({"a.png": content, "a.json": label}, Format.COCO)["a.png"]


@pytest.mark.parametrize("orientation", SIDEWAYS)
def test_boxes_outlines_and_masks_of_coco_are_turned(orientation: int) -> None:
    content = photograph(orientation)
    item = read_coco(content, coco())
    assert (item.width, item.height) == (HEIGHT, WIDTH)
    assert codes(item) == ["TURNED"]
    assert [shape.geometry.bounds for shape in item.shapes] == [seen(content)] * 3
    box, outline, mask = (shape.geometry for shape in item.shapes)
    assert isinstance(box, Box)
    assert isinstance(outline, Polygon)
    assert isinstance(mask, Mask)
    picture = Image.open(io.BytesIO(content))
    picture.putdata([(255 * value,) * 3 for value in stored_mask().to_array().ravel().tolist()])
    shown = np.asarray(ImageOps.exif_transpose(picture))[:, :, 0] > 127
    assert (mask.to_array() == shown).all()


@pytest.mark.parametrize("orientation", SIDEWAYS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_boxes_of_voc_are_turned(orientation: int, kind: str) -> None:
    x, y, x2, y2 = BOX
    size = f"<width>{WIDTH}</width><height>{HEIGHT}</height>"
    label = voc(voc_object(f"{x}.0", f"{y}.0", f"{x2}.0", f"{y2}.0"), size=size)
    content = photograph(orientation, kind)
    name = f"a.{kind.lower()}"
    item = items_of({name: content, "a.xml": label}, Format.VOC)[name]
    assert codes(item) == ["TURNED"]
    assert [shape.geometry for shape in item.shapes] == [seen(content)]


@pytest.mark.parametrize(
    ("orientation", "label", "expected"),
    [
        (6, coco(size=(HEIGHT, WIDTH)), []),
        (3, coco(), []),
        (1, coco(size=(HEIGHT, WIDTH)), ["SIZE_MISMATCH"]),
        (6, coco(size=(WIDTH + 1, HEIGHT)), ["SIZE_MISMATCH"]),
        (6, coco(maker="Label Studio"), ["SIZE_MISMATCH"]),
    ],
    ids=["as shown", "upside down", "not turned", "another size", "of two minds"],
)
def test_what_nothing_proves_is_taken_as_it_stands(orientation: int, label: bytes, expected: list[str]) -> None:
    item = read_coco(photograph(orientation), label)
    assert [code for code in codes(item) if code not in ("MASK_SIZE", "DUPLICATE_SHAPE")] == expected
    assert item.shapes[0].geometry == Box(3, 5, 9, 4)


@given(st.sampled_from(SIDEWAYS), st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), min_size=3, max_size=6))
def test_an_outline_is_turned_as_its_pixels_are(orientation: int, points: list[tuple[int, int]]) -> None:
    around = Polygon(tuple((float(x), float(y)) for x, y in points))
    again = turned(around, orientation, 7, 5)
    box = around.bounds
    assert again.bounds == turned(box, orientation, 7, 5)
    assert again.area == pytest.approx(around.area)
    assert (again.bounds.width, again.bounds.height) == (box.height, box.width)
