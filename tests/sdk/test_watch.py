"""A watch shows every event in order, once, whatever happens to the server meanwhile."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery import AsyncClient, Client, Step, errors
from bloomery._address import Address
from bloomery._session import Session, Timeouts
from bloomery._watch import follow, watch_job
from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk.conftest import QUICK, Pauses
from tests.sdk.fake import Fake, Hang

NAME = "projects/cells/jobs/j1"
CRASH = served.Unavailable("DRAINING", "the server stops", retry_after=0.0)
Items = list[object]


def job(state: training.JobState.ValueType = training.JOB_STATE_RUNNING, last: int = 0) -> training.Job:
    return training.Job(name=NAME, state=state, last_sequence=last, oldest_sequence=1)


def events(count: int, end: training.JobState.ValueType = training.JOB_STATE_SUCCEEDED) -> list[training.JobEvent]:
    """A log of `count` events, the last of which moves the job to `end`."""
    log = [training.JobEvent(sequence=n, metrics=training.MetricsReported(epoch=n)) for n in range(1, count)]
    last = training.StateChanged(from_state=training.JOB_STATE_RUNNING, to_state=end)
    return [*log, training.JobEvent(sequence=count, state_changed=last)]


def sent(event: training.JobEvent) -> training.WatchJobResponse:
    return training.WatchJobResponse(sequence=event.sequence, event=event)


def snapshot(of: training.Job) -> training.WatchJobResponse:
    return training.WatchJobResponse(snapshot=of)


def served_log(
    log: list[training.JobEvent], ends: Iterator[tuple[int, object]]
) -> Callable[[training.WatchJobRequest], Items]:
    """A server that ends each stream as the next of `ends` says: after how many events, by which fault or cleanly."""

    def answer(request: training.WatchJobRequest) -> Items:
        count, fault = next(ends, (len(log), None))
        rest = [event for event in log if event.sequence > request.after_sequence]
        return [snapshot(job(last=0)), *map(sent, rest[:count]), *([fault] if fault else [])]

    return answer


def cursors(fake: Fake) -> list[int | None]:
    return [call.after_sequence if call.HasField("after_sequence") else None for call in fake.calls["WatchJob"]]


def test_all_events_arrive_over_breaks_and_clean_ends(fake: Fake, client: Client) -> None:
    fake.answer("GetJob", job(training.JOB_STATE_SUCCEEDED, 6))
    fake.script("WatchJob", served_log(events(6), iter([(2, CRASH), (0, CRASH), (1, None)])))
    assert [event.sequence for event in client.job(NAME).watch()] == [1, 2, 3, 4, 5, 6]
    assert cursors(fake) == [None, 2, 2, 3]


def test_a_watch_survives_a_restart_of_the_server(fake: Fake, client: Client) -> None:
    def answer(request: training.WatchJobRequest) -> Items:
        rest = [sent(event) for event in events(4) if event.sequence > request.after_sequence]
        return [snapshot(job()), *rest] if len(fake.calls["WatchJob"]) > 1 else [snapshot(job()), rest[0], Hang()]

    fake.answer("GetJob", job(training.JOB_STATE_SUCCEEDED, 4))
    fake.script("WatchJob", answer)
    seen = []
    for event in client.job(NAME).watch():
        seen.append(event.sequence)
        if event.sequence == 1:
            fake.restart()
    assert seen == [1, 2, 3, 4]
    assert cursors(fake)[-1] == 1


def test_a_stream_that_falls_silent_is_opened_again(fake: Fake, client: Client) -> None:
    fake.answer("GetJob", job(training.JOB_STATE_SUCCEEDED, 2))
    fake.script("WatchJob", served_log(events(2), iter([(1, Hang())])))
    assert [event.sequence for event in client.job(NAME).watch()] == [1, 2]


async def test_heartbeats_move_the_cursor(fake: Fake, session: Session) -> None:
    def answer(request: training.WatchJobRequest) -> Items:
        if request.after_sequence == 7:
            return [snapshot(job(training.JOB_STATE_SUCCEEDED, 8)), sent(training.JobEvent(sequence=8))]
        return [snapshot(job()), training.WatchJobResponse(sequence=7), CRASH]

    fake.script("WatchJob", answer)
    seen = [one async for one in watch_job(session, NAME, 3)]
    assert seen[-1] == training.JobEvent(sequence=8)
    assert cursors(fake) == [3, 7]


async def test_watching_a_finished_job_ends_after_the_replay(fake: Fake, session: Session) -> None:
    done = job(training.JOB_STATE_FAILED, 3)
    fake.script("WatchJob", lambda request: [snapshot(done), *map(sent, events(3, training.JOB_STATE_FAILED)), Hang()])
    seen = [one async for one in watch_job(session, NAME)]
    assert seen == [done, *events(3, training.JOB_STATE_FAILED)]


async def test_a_cursor_at_the_end_of_a_finished_job_needs_no_event(fake: Fake, session: Session) -> None:
    done = job(training.JOB_STATE_SUCCEEDED, 3)
    fake.script("WatchJob", lambda request: [snapshot(done), Hang()])
    assert [one async for one in watch_job(session, NAME, 3)] == [done]


async def test_a_truncated_log_is_read_from_its_oldest_event(fake: Fake, session: Session) -> None:
    def answer(request: training.WatchJobRequest) -> Items:
        if request.after_sequence < 4:
            return [served.OutOfRange("EVENTS_TRUNCATED", "too old", 5, 6)]
        return [snapshot(job()), *(sent(event) for event in events(6) if event.sequence > request.after_sequence)]

    fake.script("WatchJob", answer)
    seen = [one.sequence async for one in watch_job(session, NAME, 1) if isinstance(one, training.JobEvent)]
    assert seen == [5, 6]


async def test_a_cursor_of_another_job_is_an_error(fake: Fake, session: Session) -> None:
    fake.script("WatchJob", lambda request: [served.OutOfRange("SEQUENCE_IN_FUTURE", "too new", 1, 6)])
    with pytest.raises(errors.OutOfRange):
        [one async for one in watch_job(session, NAME, 9)]


async def test_a_job_that_does_not_exist_is_an_error(fake: Fake, session: Session) -> None:
    fake.script("WatchJob", lambda request: [served.NotFound("job", NAME)])
    with pytest.raises(errors.NotFound):
        [one async for one in watch_job(session, NAME)]


async def test_a_server_that_stays_away_is_given_up(fake: Fake, session: Session, pauses: Pauses) -> None:
    first = iter([[snapshot(job())]])
    fake.script("WatchJob", lambda request: next(first, [served.Unavailable("DRAINING", "away", retry_after=2.0)]))
    with pytest.raises(errors.Unavailable):
        [one async for one in watch_job(session, NAME)]
    assert sum(pauses.taken) <= QUICK.outage + 0.1
    assert len(fake.calls["WatchJob"]) == 5


async def test_the_servers_delay_is_kept_between_streams(fake: Fake, session: Session, pauses: Pauses) -> None:
    later = served.ResourceExhausted("TOO_MANY_STREAMS", "wait", retry_after=3.5)
    fake.script("WatchJob", served_log(events(2), iter([(1, later)])))
    [one async for one in watch_job(session, NAME)]
    assert pauses.taken == [3.5]


@given(
    length=st.integers(1, 30),
    breaks=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["clean", "broken"])), max_size=12),
)
async def test_any_breaks_leave_no_gap_and_no_repeat(length: int, breaks: list[tuple[int, str]]) -> None:
    ends = iter(breaks)

    async def open_stream(cursor: int | None) -> AsyncGenerator[training.JobEvent, None]:
        count, end = next(ends, (length, "clean"))
        for event in [event for event in events(length) if event.sequence > (cursor or 0)][:count]:
            yield event
        if end == "broken":
            raise errors.Unavailable("the stream broke")

    pauses = Pauses()
    # Twelve breaks in a row may take more pauses than a client without a server waits for.
    patient = Timeouts(contact=600.0, outage=600.0)
    session = Session(Address("127.0.0.1:1"), timeouts=patient, sleep=pauses.sleep, clock=lambda: 0.0)
    seen: list[int] = []
    try:
        async with aclosing(follow(session, open_stream, lambda event: event.sequence)) as found:
            async for event in found:
                seen.append(event.sequence)
                if event.sequence == length:
                    break
    finally:
        await session.close()
    assert seen == list(range(1, length + 1))


def test_the_handle_follows_what_it_sees(fake: Fake, client: Client) -> None:
    log = [
        training.JobEvent(
            sequence=1,
            state_changed=training.StateChanged(
                to_state=training.JOB_STATE_RUNNING, reason=training.Reason(code="R", message="goes on")
            ),
        ),
        training.JobEvent(sequence=2, progress=training.Progress(phase="training", epoch=1, epochs=3)),
        training.JobEvent(sequence=3, metrics=training.MetricsReported(values={"val/map50": 0.5})),
        *events(4)[3:],
    ]
    fake.answer("GetJob", job(training.JOB_STATE_QUEUED))
    fake.script("WatchJob", served_log(log, iter([])))
    handle = client.job(NAME)
    seen = [(e.kind, handle.state, handle.progress.phase, dict(handle.metrics)) for e in handle.watch()]
    assert seen == [
        ("state_changed", "RUNNING", "", {}),
        ("progress", "RUNNING", "training", {}),
        ("metrics", "RUNNING", "training", {"val/map50": 0.5}),
        ("state_changed", "SUCCEEDED", "training", {"val/map50": 0.5}),
    ]


def test_waiting_for_a_job_that_fails_raises_its_reason_and_hint(fake: Fake, client: Client) -> None:
    reason = training.Reason(code="OOM_GPU", message="out of memory", hint="use batch=4")
    failed = job(training.JOB_STATE_FAILED, 2)
    failed.reason.CopyFrom(reason)
    fake.answer("GetJob", failed)
    fake.script("WatchJob", served_log(events(2, training.JOB_STATE_FAILED), iter([])))
    with pytest.raises(errors.JobFailed, match="out of memory") as caught:
        client.job(NAME).wait()
    assert (caught.value.reason, caught.value.hint, caught.value.resource) == ("OOM_GPU", "use batch=4", NAME)


def test_leaving_a_watch_leaves_the_job_alone(fake: Fake, client: Client) -> None:
    fake.answer("GetJob", job())
    fake.script("WatchJob", lambda request: [snapshot(job()), *map(sent, events(3)), Hang()])
    for _ in client.job(NAME).watch():
        break
    assert set(fake.calls) == {"GetJob", "WatchJob"}
    assert client.job(NAME).name == NAME


async def test_an_import_is_watched_over_breaks(fake: Fake, aclient: AsyncClient) -> None:
    state = annotation.Import
    name = "projects/cells/imports/i"
    steps = [
        state(name=name, state=state.STATE_RUNNING, done_count=1, item_count=3, sequence=4),
        state(name=name, state=state.STATE_RUNNING, done_count=2, item_count=3, sequence=5),
        state(name=name, state=state.STATE_SUCCEEDED, done_count=3, item_count=3, sequence=6),
    ]

    def answer(request: annotation.WatchImportRequest) -> list[object]:
        rest = [step for step in steps if step.sequence > request.after_sequence]
        return [*rest[:2], CRASH] if len(rest) > 1 else [*rest]

    fake.answer("GetImport", steps[0])
    fake.script("WatchImport", answer)
    seen: list[Step] = []
    done = await (await aclient.get_import(name)).wait(progress=seen.append)
    assert [step.done for step in seen] == [1, 2, 3]
    assert done.state == "SUCCEEDED"


async def test_a_build_that_fails_raises_why(fake: Fake, aclient: AsyncClient) -> None:
    name = "projects/cells/datasets/d/versions/u1"
    why = served.to_status(served.FailedPrecondition("NO_IMAGES", "no image can be used"))
    building = dataset.DatasetVersion(name=name, uid="u1", state=dataset.DatasetVersion.STATE_BUILDING, sequence=1)
    failed = dataset.DatasetVersion(name=name, state=dataset.DatasetVersion.STATE_FAILED, error=why, sequence=2)
    fake.answer("GetDatasetVersion", building)
    fake.script("WatchDatasetVersion", lambda request: [building, failed])
    with pytest.raises(errors.BuildFailed, match="no image") as caught:
        await (await aclient.dataset_version(name)).wait()
    assert caught.value.reason == "NO_IMAGES"
