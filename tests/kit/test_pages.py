import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from hypothesis import given
from hypothesis import strategies as st

from bloomery.annotation.v1.annotation_service_pb2 import ListLabelsRequest
from bloomery_kit.errors import InvalidArgument
from bloomery_kit.pages import Cursor, PageRequest

CURSORS = st.lists(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
).map(tuple)


@given(CURSORS, st.dictionaries(st.text(), st.text()))
def test_a_token_brings_its_cursor_back(cursor: Cursor, arguments: dict[str, str]) -> None:
    token = PageRequest.parse(0, "", arguments).next_token(cursor)
    assert PageRequest.parse(10, token, arguments).cursor == cursor


@given(CURSORS, st.text(), st.text())
def test_a_token_holds_only_for_its_own_arguments(cursor: Cursor, one: str, other: str) -> None:
    token = PageRequest.parse(0, "", {"parent": one}).next_token(cursor)
    if one == other:
        assert PageRequest.parse(0, token, {"parent": other}).cursor == cursor
        return
    with pytest.raises(InvalidArgument) as caught:
        PageRequest.parse(0, token, {"parent": other})
    assert caught.value.violations[0].field == "page_token"


@given(st.text(min_size=1))
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PageRequest.parse(0, token, {})
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


@given(CURSORS, st.data())
def test_a_token_with_one_character_changed_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    token = PageRequest.parse(0, "", {}).next_token(cursor)
    # The last character may carry bits that base64 ignores.
    index = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda character: character != token[index]))
    with pytest.raises(InvalidArgument):
        PageRequest.parse(0, token[:index] + other + token[index + 1 :], {})


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (1000, 1000), (5000, 1000)])
def test_the_size_has_a_default_and_a_limit(asked: int, size: int) -> None:
    assert PageRequest.parse(asked, "", {}).size == size


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        PageRequest.parse(-1, "", {})
    assert caught.value.violations[0].field == "page_size"


def test_a_request_message_binds_by_content_and_by_kind() -> None:
    token = PageRequest.parse(0, "", StringValue(value="x")).next_token((7,))
    assert PageRequest.parse(0, token, StringValue(value="x")).cursor == (7,)
    for other in (StringValue(value="y"), ErrorInfo(reason="x"), Struct()):
        with pytest.raises(InvalidArgument):
            PageRequest.parse(0, token, other)


def test_the_paging_fields_of_a_request_do_not_bind() -> None:
    first = ListLabelsRequest(parent="projects/p", page_size=10)
    token = PageRequest.parse(first.page_size, first.page_token, first).next_token(("a", 1))
    second = ListLabelsRequest(parent="projects/p", page_size=20, page_token=token)
    page = PageRequest.parse(second.page_size, second.page_token, second)
    assert (page.size, page.cursor) == (20, ("a", 1))
    assert second.page_token == token
