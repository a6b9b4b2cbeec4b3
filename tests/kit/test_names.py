import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_kit.errors import InvalidArgument, Violations
from bloomery_kit.names import Pattern, make_id, new_uid, short_id, validate_id

GRAMMAR = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
IDS = st.from_regex(GRAMMAR, fullmatch=True)
VERSION = Pattern("projects/{project}/datasets/{dataset}/versions/{version}")


@given(IDS, IDS, st.integers(1, 10**17))
def test_a_formatted_name_parses_to_its_ids(project: str, dataset: str, version: int) -> None:
    name = VERSION.format(project=project, dataset=dataset, version=version)
    assert VERSION.matches(name)
    assert VERSION.parse(name) == {"project": project, "dataset": dataset, "version": str(version)}


@given(st.text())
def test_whatever_parses_formats_to_the_same_name(name: str) -> None:
    try:
        ids = VERSION.parse(name)
    except InvalidArgument:
        assert not VERSION.matches(name)
    else:
        assert VERSION.format(**ids) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "projects/p",
        "projects/p/datasets/d/versions/0",
        "projects/p/datasets/d/versions/x",
        "projects/p/datasets/D/versions/1",
        "projects/p/datasets/d/versions/1/",
        "projects/p/datasets/../versions/1",
        "projects/p/datasets/d/versions/1\n",
    ],
)
def test_a_name_of_another_shape_is_refused_by_field(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        VERSION.parse(name, "source.dataset_version")
    assert caught.value.violations[0].field == "source.dataset_version"
    assert VERSION.template in caught.value.violations[0].description


def test_checking_a_name_collects_instead_of_raising() -> None:
    violations = Violations()
    assert VERSION.check("projects/p", "a", violations) is None
    assert VERSION.check("projects/p/datasets/d/versions/2", "b", violations) == {
        "project": "p",
        "dataset": "d",
        "version": "2",
    }
    with pytest.raises(InvalidArgument) as caught:
        violations.raise_if_any()
    assert [violation.field for violation in caught.value.violations] == ["a"]


def test_formatting_refuses_bad_ids_and_other_variables() -> None:
    with pytest.raises(ValueError, match="does not match"):
        VERSION.format(project="p/q", dataset="d", version=1)
    with pytest.raises(KeyError):
        VERSION.format(project="p", dataset="d")


@given(st.text(max_size=200))
def test_an_id_is_accepted_exactly_by_the_grammar(text: str) -> None:
    violations = Violations()
    validate_id(text, "dataset_id", violations)
    assert bool(violations) is (GRAMMAR.fullmatch(text) is None)


@given(st.text(max_size=200))
def test_a_made_id_is_valid_and_keeps_valid_text(text: str) -> None:
    made = make_id(text)
    assert GRAMMAR.fullmatch(made)
    assert made == text or not GRAMMAR.fullmatch(text)


@given(st.text(max_size=80), st.text(max_size=80))
def test_different_texts_make_different_ids(one: str, other: str) -> None:
    assert (make_id(one) == make_id(other)) is (one == other)


def test_texts_that_differ_only_in_what_a_slug_drops_stay_apart() -> None:
    assert make_id("Blood cells").startswith("blood-cells-")
    assert len({make_id(text) for text in ("Blood cells", "blood cells", "Blood Cells!", "blood_cells")}) == 4


def test_uids_are_32_hex_digits_and_fresh() -> None:
    uids = {new_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", uid) for uid in uids)


def test_ids_of_uids_that_are_made_together_differ() -> None:
    assert len({short_id(new_uid()) for _ in range(100)}) == 100


def test_uids_that_are_made_later_sort_behind() -> None:
    earlier = new_uid()
    time.sleep(0.002)
    assert earlier < new_uid()


def test_a_name_with_a_bad_id_says_the_rule_and_a_clean_id() -> None:
    with pytest.raises(InvalidArgument, match=r"'Bad Name' must start with .* as in 'bad-name'$"):
        Pattern("projects/{project}/datasets/{dataset}").parse("projects/p/datasets/Bad Name")
