"""Etags, update masks and times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from bloomery.annotation.v1.project_pb2 import Project
from bloomery_kit.errors import EtagMismatch, InvalidArgument
from bloomery_kit.etags import check_etag, etag_of
from bloomery_kit.masks import apply_mask
from bloomery_kit.times import from_timestamp, to_timestamp, utc_now

UPDATABLE = {"display_name", "labels"}
PARTS = st.lists(st.text() | st.binary(), max_size=3)


@given(PARTS, PARTS)
def test_etags_are_equal_exactly_for_equal_parts(one: list[str | bytes], other: list[str | bytes]) -> None:
    as_bytes = [[part if isinstance(part, bytes) else part.encode() for part in parts] for parts in (one, other)]
    assert (etag_of(*one) == etag_of(*other)) is (as_bytes[0] == as_bytes[1])


def test_an_etag_is_a_quoted_string() -> None:
    etag = etag_of("uid", 3)
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert '"' not in etag[1:-1]


def test_a_stale_etag_is_refused_and_names_the_resource() -> None:
    with pytest.raises(EtagMismatch) as caught:
        check_etag('"old"', '"new"', "projects/p")
    assert caught.value.reason == "ETAG_MISMATCH"
    assert caught.value.metadata == {"name": "projects/p", "given": '"old"', "actual": '"new"'}


@pytest.mark.parametrize("given_etag", ["", '"new"'])
def test_the_current_etag_or_none_at_all_is_accepted(given_etag: str) -> None:
    check_etag(given_etag, '"new"', "projects/p")


def test_an_empty_mask_means_every_updatable_field_that_is_set() -> None:
    project = Project(name="projects/p", display_name="P", etag="x")
    assert apply_mask(FieldMask(), project, UPDATABLE) == ["display_name"]


def test_a_star_means_every_updatable_field() -> None:
    assert apply_mask(FieldMask(paths=["*"]), Project(), UPDATABLE) == ["display_name", "labels"]


def test_a_mask_may_clear_a_field_and_names_it_once() -> None:
    assert apply_mask(FieldMask(paths=["labels", "labels"]), Project(), UPDATABLE) == ["labels"]


def test_every_unknown_and_every_output_only_path_is_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        apply_mask(FieldMask(paths=["uid", "colour", "display_name"]), Project(), UPDATABLE)
    assert [violation.description.split(";")[0] for violation in caught.value.violations] == [
        "uid cannot be updated",
        "colour is not a field",
    ]


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_times_survive_the_wire(time: datetime) -> None:
    assert from_timestamp(to_timestamp(time)) == time


def test_times_of_another_zone_mean_the_same_moment() -> None:
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    assert from_timestamp(to_timestamp(there)) == there


def test_now_is_aware() -> None:
    assert utc_now().utcoffset() == timedelta(0)
