"""Shapes on the wire and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.vision.v1 import Polygon as PolygonMessage
from bloomery.vision.v1 import Ring as RingMessage
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_vision.geometry import Box, Found, Geometry, Mask, Polygon, Shape, Tag
from bloomery_vision.messages import found_message, shape_message, shape_value

NUMBERS = st.floats(allow_nan=False, width=64)
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5).map(tuple)
GEOMETRIES: st.SearchStrategy[Geometry] = st.one_of(
    st.builds(Box, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(Polygon, RINGS, st.lists(RINGS, max_size=2).map(tuple)),
    st.builds(Mask, st.integers(0, 9), st.integers(0, 9), st.binary(max_size=5)),
    st.just(Tag()),
)
SHAPES = st.builds(
    Shape,
    GEOMETRIES,
    st.text(max_size=5),
    attributes=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    crowd=st.booleans(),
    group_id=st.none() | st.integers(1, 2**62),
    track_id=st.none() | st.integers(1, 2**62),
)


@given(SHAPES)
def test_every_shape_comes_back_as_it_went(shape: Shape) -> None:
    message = ShapeMessage.FromString(shape_message(shape).SerializeToString())
    assert shape_value(message) == shape


@given(GEOMETRIES, st.floats(0, 1, width=32))
def test_what_a_model_sees_has_its_place_label_and_score(geometry: Geometry, score: float) -> None:
    message = found_message(Found("cat", score, geometry))
    value = shape_value(message)
    assert value is not None
    assert (value.geometry, value.label, message.confidence) == (geometry, "cat", score)


def test_a_message_without_a_geometry_is_no_shape() -> None:
    assert shape_value(ShapeMessage(label="cat")) is None


@pytest.mark.parametrize("rings", [[], [RingMessage(coordinates=[1, 2, 3])]])
def test_an_outline_that_is_none_is_refused(rings: list[RingMessage]) -> None:
    with pytest.raises(ValueError, match="ring"):
        shape_value(ShapeMessage(polygon=PolygonMessage(rings=rings)))
