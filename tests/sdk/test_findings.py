"""The check of annotations counts everything and says each finding once, however often it breaks."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery import Client, Project, errors
from bloomery._findings import _Known
from bloomery.annotation.v1 import StreamProblemsRequest, StreamProblemsResponse
from bloomery.common.v1 import Problem
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.fake import Fake

ERROR, WARNING = Problem.SEVERITY_ERROR, Problem.SEVERITY_WARNING
BROKEN = served.Unavailable("RESTART", "the server stops", retry_after=0.0)


def problem(number: int, severity: Problem.Severity.ValueType = ERROR) -> Problem:
    return Problem(
        severity=severity, code="TINY_BOX", message=f"finding {number}", item=f"projects/cells/assets/a{number}"
    )


def message(after: str, problems: Sequence[Problem], assets: int) -> StreamProblemsResponse:
    return StreamProblemsResponse(read_sequence=7, after=after, problems=problems, asset_count=assets)


@pytest.fixture
def project(fake: Fake, client: Client) -> Project:
    world.settle(fake)
    return client.project("cells")


def test_everything_is_counted_and_the_first_problems_are_kept(fake: Fake, project: Project) -> None:
    messages = [
        message("a2", [problem(1), problem(2, WARNING)], 300),
        message("a9", [], 600),
        message("a9", [problem(10), problem(11), problem(12, WARNING)], 700),
    ]
    fake.script("StreamProblems", lambda request: messages)
    found = project.validate(limit=3)
    assert [one.message for one in found.problems] == ["finding 1", "finding 2", "finding 10"]
    assert (found.error_count, found.warning_count, found.asset_count, found.ok) == (3, 2, 700, False)
    assert len(list(project.problems())) == 5
    assert project.validate(limit=0).error_count == 3


def test_a_check_goes_on_where_it_broke(fake: Fake, project: Project) -> None:
    def script(request: StreamProblemsRequest) -> Iterable[object]:
        if not request.after:
            return [message("a2", [problem(1), problem(3)], 2), message("a2", [problem(4)], 2), BROKEN]
        return [message("a4", [problem(3), problem(4), problem(5)], 2), message("a4", [problem(6)], 2)]

    fake.script("StreamProblems", script)
    found = project.validate()
    assert [one.message for one in found.problems] == [f"finding {n}" for n in (1, 3, 4, 5, 6)]
    assert (found.error_count, found.asset_count) == (5, 4)
    assert [(call.after, call.read_sequence) for call in fake.calls["StreamProblems"]] == [("", 0), ("a2", 7)]


def test_a_refusal_is_told(fake: Fake, project: Project) -> None:
    fake.script("StreamProblems", lambda request: [served.NotFound("project", "projects/cells")])
    with pytest.raises(errors.NotFound):
        project.validate()


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4), st.lists(st.integers(1, 40), max_size=40))
def test_no_finding_is_lost_or_said_twice_wherever_it_breaks(
    counts: Sequence[int], size: int, breaks: Sequence[int]
) -> None:
    """A stream of findings per image, cut into messages of `size`, breaks after any message, several times."""
    everything = [(image, problem(100 * image + n)) for image, count in enumerate(counts) for n in range(count)]
    known, heard, start = _Known(), list[Problem](), -1
    # After the last break it goes on to the end.
    for after in (*breaks, len(everything) + 1):
        rest = [one for one in everything if one[0] > start]
        pieces = [rest[at : at + size] for at in range(0, len(rest), size)] or [[]]
        for number, piece in enumerate(pieces[:after]):
            following = pieces[number + 1][0][0] if number + 1 < len(pieces) else len(counts)
            # Everything was said about the images before the one that comes next.
            start = max(start, following - 1)
            heard += known.take(message(str(start) if start >= 0 else "", [one for _, one in piece], 0)).problems
        if after >= len(pieces):
            break
        known.reopen()
    assert heard == [one for _, one in everything]
