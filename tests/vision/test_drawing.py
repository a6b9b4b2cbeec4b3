import itertools

import numpy as np
import pytest

from bloomery_vision.colors import color, rgb
from bloomery_vision.drawing import draw, draw_detections
from bloomery_vision.geometry import Box, Mask, Polygon, Shape, Tag
from bloomery_vision.postprocess import Detections

GREY = np.full((200, 300, 3), 90, dtype=np.uint8)


def test_a_box_is_outlined_in_its_labels_colour() -> None:
    picture = draw(GREY, [Shape(Box(50, 60, 100, 80), "cell")], colors={"cell": "#ff0000"})
    assert picture[100, 50].tolist() == [255, 0, 0]
    assert picture[100, 100].tolist() == [90, 90, 90]
    assert (GREY == 90).all()


def test_areas_are_tinted() -> None:
    mask = np.zeros((200, 300), dtype=bool)
    mask[150:180, 200:250] = True
    outline = Polygon(((20.0, 60.0), (90.0, 60.0), (90.0, 120.0)))
    shapes = [Shape(Mask.from_array(mask), "a"), Shape(outline, "b")]
    picture = draw(GREY, shapes, captions=["", ""], colors={"a": "#00ff00", "b": "#0000ff"})
    assert picture[170, 220, 1] > 120
    assert picture[75, 80, 2] > 120
    assert picture[190, 220].tolist() == [90, 90, 90]


@pytest.mark.parametrize(
    "box", [Box(0, 0, 300, 200), Box(290, 190, 10, 10), Box(-40, -40, 60, 60), Box(280, 0, 500, 500)]
)
def test_captions_stay_on_the_image(box: Box) -> None:
    picture = draw(GREY, [Shape(box, "cell")], captions=["a rather long caption"], colors={"cell": "#ff0000"})
    assert (picture == [255, 0, 0]).all(axis=2).sum() > 1000


def test_tags_are_written_below_each_other() -> None:
    tags = [Shape(Tag(), "sunny"), Shape(Tag(), "warm")]
    picture = draw(GREY, tags, colors={"sunny": "#ff0000", "warm": "#00ff00"})
    red, green = ((picture == shade).all(axis=2) for shade in ([255, 0, 0], [0, 255, 0]))
    assert np.flatnonzero(red.any(axis=1)).max() <= np.flatnonzero(green.any(axis=1)).max()
    assert green.any()


def test_detections_are_drawn_with_names() -> None:
    found = Detections(
        np.array([[50, 60, 150, 140]], dtype=np.float32), np.array([0.87], dtype=np.float32), np.array([1])
    )
    picture = draw_detections(GREY, found, ["RBC", "WBC"])
    assert picture.shape == GREY.shape
    assert picture[100, 50].tolist() == list(rgb(color(1)))


def test_neighbouring_colours_differ_and_never_change() -> None:
    palette = [color(index) for index in range(80)]
    assert len(set(palette)) == 80
    assert palette[0] == color(0)
    for first, second in itertools.pairwise(palette):
        assert max(abs(a - b) for a, b in zip(rgb(first), rgb(second), strict=True)) > 50


@pytest.mark.parametrize("text", ["red", "#12345", "#12345g", ""])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rrggbb|invalid literal"):
        rgb(text)
