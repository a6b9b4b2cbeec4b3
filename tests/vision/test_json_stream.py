import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.formats import FormatError, json_stream
from bloomery_vision.formats.json_stream import read_arrays

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
LISTS = st.lists(SCALARS, max_size=4) | st.lists(st.dictionaries(st.text(max_size=9), SCALARS, max_size=4), max_size=4)


@pytest.fixture(autouse=True, params=[1, 7, 1 << 20])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in pieces of different sizes."""
    monkeypatch.setattr(json_stream, "CHUNK", request.param)


def elements(data: bytes, *keys: str) -> list[tuple[str, object]]:
    found = read_arrays(io.BytesIO(data), frozenset(keys))
    return [(key, element) for key, elements in found for element in elements]


@given(
    wanted=st.dictionaries(st.sampled_from(["a", "b"]), LISTS),
    others=st.dictionaries(st.sampled_from(["c", "d"]), LISTS | SCALARS),
    indent=st.sampled_from([None, 2]),
    plain=st.booleans(),
)
def test_elements_are_those_that_the_whole_file_has(
    wanted: dict[str, list[object]], others: dict[str, object], indent: int | None, plain: bool
) -> None:
    data = json.dumps({**others, **wanted}, indent=indent, ensure_ascii=plain).encode()
    assert elements(data, "a", "b") == [(key, item) for key, items in wanted.items() for item in items]


@pytest.mark.parametrize("element", [{"x": [{"y": 1}, {"y": 2}]}, {"x": "}, {"}, {"x": {}}, 1, [{}, {}]])
@pytest.mark.parametrize("space", ["", " ", "\n  "])
def test_what_looks_like_the_end_of_an_element_is_none(element: object, space: str) -> None:
    text = json.dumps({"a": [element] * 5, "b": [element]}, separators=(f",{space}", ":"))
    assert elements(text.encode(), "a", "b") == [("a", element)] * 5 + [("b", element)]


def test_objects_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 20)
    data = json.dumps({"a": [{"id": number} for number in range(1000)]}).encode()
    assert len(list(read_arrays(io.BytesIO(data), frozenset("a")))) == 2


def test_numbers_that_are_none_are_read() -> None:
    ((_, first), (_, second)) = elements(b'{"a": [{"x": NaN}, {"x": -Infinity}]}', "a")
    assert isinstance(first, dict)
    assert math.isnan(first["x"])
    assert second == {"x": -math.inf}


def test_a_byte_order_mark_is_skipped() -> None:
    assert elements(b'\xef\xbb\xbf{"a": [1]}', "a") == [("a", 1)]


def test_what_came_before_a_break_is_yielded() -> None:
    found = read_arrays(io.BytesIO(b'{"a": [1, 2, }'), frozenset("a"))
    assert [next(found)[1], next(found)[1]] == [[1], [2]]
    with pytest.raises(FormatError, match="character"):
        next(found)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"a"',
        b'{"a": [1',
        b'{"a": [1 2]}',
        b'{"a": [{}, {},]}',
        b'{"a": [{}, {}',
        b'{"a": [{}, {}}',
        b'{"a": 1,}',
        b"{a: 1}",
        b'{"a": "\xff"}',
        b'{"a": tru}',
        b'{"a": [0.]}',
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        elements(data, "a")
    assert caught.value.code == "BROKEN_FILE"


def test_an_endless_element_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1000)
    endless = io.BytesIO(b'{"a": ["' + b"x" * (5 << 20))
    with pytest.raises(FormatError):
        list(read_arrays(endless, frozenset("a")))
    assert endless.tell() < 3 << 20
