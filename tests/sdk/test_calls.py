"""A call is repeated while that may help and never does its work twice."""

import time

import pytest

from bloomery import AsyncClient, Client, Timeouts, errors
from bloomery._session import Session
from bloomery.annotation import v1 as annotation
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk.conftest import Pauses
from tests.sdk.fake import DropReply, Fake, Hang

PROJECT = annotation.Project(name="projects/cells")
GET = annotation.GetProjectRequest(name="projects/cells")


async def test_a_call_is_repeated_until_the_server_is_back(fake: Fake, session: Session, pauses: Pauses) -> None:
    fake.answer("GetProject", PROJECT)
    fake.queue("GetProject", *(served.Unavailable("DRAINING", "wait", retry_after=None) for _ in range(3)))
    assert await session.call(session.annotation.GetProject, GET) == PROJECT
    assert pauses.taken == [0.2, 0.4, 0.8]


async def test_the_servers_delay_beats_the_clients(fake: Fake, session: Session, pauses: Pauses) -> None:
    fake.answer("GetProject", PROJECT)
    fake.queue("GetProject", served.Unavailable("DRAINING", "wait", retry_after=1.5))
    fake.queue("GetProject", served.ResourceExhausted("TOO_MANY", "wait", retry_after=2.25))
    await session.call(session.annotation.GetProject, GET)
    assert pauses.taken == [1.5, 2.25]


async def test_a_server_that_says_at_once_is_not_asked_without_a_pause(
    fake: Fake, session: Session, pauses: Pauses
) -> None:
    fake.answer("GetProject", PROJECT)
    fake.queue("GetProject", *(served.Unavailable("DRAINING", "wait", retry_after=0.0) for _ in range(3)))
    await session.call(session.annotation.GetProject, GET)
    assert pauses.taken == [0.2, 0.2, 0.2]


@pytest.mark.parametrize(
    "error",
    [
        served.ResourceExhausted("DISK_LOW", "free space"),
        served.NotFound("project", "projects/cells"),
        served.Internal("oops"),
        served.EtagMismatch("projects/cells", given="a", actual="b"),
    ],
)
async def test_what_a_repeat_cannot_help_is_raised_at_once(
    fake: Fake, session: Session, error: served.BloomeryError
) -> None:
    fake.queue("GetProject", error)
    with pytest.raises(errors.BloomeryError) as caught:
        await session.call(session.annotation.GetProject, GET)
    assert caught.value.reason == error.reason
    assert len(fake.calls["GetProject"]) == 1


async def test_all_attempts_of_a_create_show_the_same_request_id(fake: Fake, session: Session) -> None:
    fake.answer("CreateProject", PROJECT)
    fake.queue("CreateProject", DropReply(), served.Unavailable("DRAINING", "wait"))
    await session.call(session.annotation.CreateProject, annotation.CreateProjectRequest(project_id="cells"))
    ids = {call.request_id for call in fake.calls["CreateProject"]}
    assert len(fake.calls["CreateProject"]) == 3
    assert len(ids) == 1
    assert ids != {""}


async def test_two_creates_show_different_request_ids(fake: Fake, session: Session) -> None:
    fake.answer("CreateJob", training.Job(name="projects/p/jobs/j"))
    for _ in range(2):
        await session.call(session.jobs.CreateJob, training.CreateJobRequest(parent="projects/p"))
    assert len({call.request_id for call in fake.calls["CreateJob"]}) == 2


async def test_an_attempt_without_an_answer_is_given_up_and_repeated(fake: Fake, session: Session) -> None:
    fake.answer("GetProject", PROJECT)
    fake.queue("GetProject", Hang())
    assert await session.call(session.annotation.GetProject, GET, seconds=0.3) == PROJECT
    assert len(fake.calls["GetProject"]) == 2


async def test_all_attempts_together_are_bounded(fake: Fake, session: Session, pauses: Pauses) -> None:
    fake.queue("GetProject", *(served.Unavailable("DATABASE_DOWN", "wait", retry_after=3.0) for _ in range(3)))
    with pytest.raises(errors.Unavailable) as caught:
        await session.call(session.annotation.GetProject, GET)
    assert sum(pauses.taken) <= session.timeouts.total
    assert caught.value.attempts == 3
    assert caught.value.reason == "DATABASE_DOWN"


async def test_a_delete_whose_answer_was_lost_has_succeeded(fake: Fake, session: Session) -> None:
    gone = served.NotFound("project", "projects/cells")
    fake.queue("DeleteProject", served.Unavailable("DRAINING", "wait"), gone)
    await session.delete(session.annotation.DeleteProject, annotation.DeleteProjectRequest(name="projects/cells"))


async def test_a_delete_of_nothing_says_so(fake: Fake, session: Session) -> None:
    fake.queue("DeleteProject", served.NotFound("project", "projects/cells"))
    with pytest.raises(errors.NotFound):
        await session.delete(session.annotation.DeleteProject, annotation.DeleteProjectRequest(name="projects/cells"))


async def test_every_call_carries_the_token(fake: Fake, aclient: AsyncClient) -> None:
    fake.answer("GetProject", PROJECT)
    await aclient.project("cells")
    assert fake.tokens == ["Bearer secret"]


def test_a_server_that_does_not_run_is_reported_soon(fake: Fake) -> None:
    fake.stop()
    started = time.monotonic()
    with (
        Client(fake.endpoint, timeouts=Timeouts(contact=1.0)) as client,
        pytest.raises(errors.ServerNotFound, match=fake.endpoint) as caught,
    ):
        client.project("cells")
    assert time.monotonic() - started < 30
    assert "bloomery up" in caught.value.hint
    fake.start()


def test_a_server_that_answered_before_is_waited_for(fake: Fake, client: Client) -> None:
    fake.answer("GetProject", PROJECT)
    client.project("cells")
    fake.restart()
    assert client.project("cells").name == "projects/cells"


def test_a_new_client_does_not_wait_for_what_another_one_met(fake: Fake) -> None:
    fake.answer("GetProject", PROJECT)
    fake.stop()
    with Client(fake.endpoint, timeouts=Timeouts(contact=3.0)) as early:
        with pytest.raises(errors.ServerNotFound):
            early.project("cells")
        fake.start()
        with Client(fake.endpoint, timeouts=Timeouts(contact=1.0)) as late:
            assert late.project("cells").name == "projects/cells"


def test_a_missing_server_is_told_when_the_client_is_made() -> None:
    with pytest.raises(errors.ServerNotFound):
        Client()
