"""Streams that survive a restart of the server."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import Message

from bloomery import errors
from bloomery._session import Session
from bloomery.training import v1 as training

M = TypeVar("M", bound=Message)

TERMINAL = frozenset({training.JOB_STATE_SUCCEEDED, training.JOB_STATE_FAILED, training.JOB_STATE_CANCELLED})
REOPEN_PAUSE = 0.1


async def follow(
    session: Session,
    open_stream: Callable[[int | None], AsyncGenerator[M, None]],
    sequence: Callable[[M], int],
    after: int | None = None,
) -> AsyncGenerator[M, None]:
    """Yield the messages of a resumable stream for ever: the caller knows when it is complete.

    Args:
        session: gives pauses and patience.
        open_stream: opens the stream after a cursor, None for its start.
        sequence: the cursor that a message carries; 0 where it carries none.
        after: the cursor to begin with.

    Raises:
        Unavailable: nothing came through for as long as the timeouts allow.
        BloomeryError: the server refuses the stream.
    """
    cursor, attempt, quiet_since = after, 1, session.clock()
    while True:
        pause = REOPEN_PAUSE
        try:
            async with aclosing(open_stream(cursor)) as messages:
                async for message in messages:
                    cursor = sequence(message) or cursor
                    attempt, quiet_since = 1, session.clock()
                    yield message
                    quiet_since = session.clock()
        except errors.OutOfRange as error:
            cursor = _oldest(error)
        except errors.BloomeryError as error:
            pause = patient_pause(session, error, attempt, quiet_since, session.patience())
            attempt += 1
        await session.sleep(pause)


async def to_the_end(
    session: Session, open_stream: Callable[[M | None], AsyncGenerator[M, None]]
) -> AsyncGenerator[M, None]:
    """Yield the messages of a stream that ends by itself, opened again behind the last one where it breaks.

    Raises:
        Unavailable: nothing came through for as long as the timeouts allow.
        BloomeryError: the server refuses the stream.
    """
    last, attempt, quiet_since = None, 1, session.clock()
    while True:
        try:
            async with aclosing(open_stream(last)) as messages:
                async for message in messages:
                    last, attempt = message, 1
                    yield message
                    quiet_since = session.clock()
        except errors.BloomeryError as error:
            await session.sleep(patient_pause(session, error, attempt, quiet_since, session.patience()))
            attempt += 1
        else:
            return


def patient_pause(
    session: Session, error: errors.BloomeryError, attempt: int, quiet_since: float, patience: float
) -> float:
    """Seconds until a stream is opened again. Raises the error where that cannot help, or was tried for `patience`."""
    pause = session.pause(attempt, error)
    if pause is None or session.clock() - quiet_since + pause > patience:
        raise error
    return pause


def _oldest(error: errors.OutOfRange) -> int:
    """The cursor before the oldest event that is kept, where that is what the error says."""
    if error.reason != "EVENTS_TRUNCATED":
        raise error
    return int(error.details["oldest_sequence"]) - 1


async def watch_job(
    session: Session, name: str, after: int | None = None
) -> AsyncGenerator[training.Job | training.JobEvent, None]:
    """Yield a job's events in order, none twice, to the last one; a snapshot comes first and after each reconnect.

    Complete when the state is terminal and the cursor equals the log's last sequence.
    """

    def open_stream(cursor: int | None) -> AsyncGenerator[training.WatchJobResponse, None]:
        return session.stream(session.jobs.WatchJob, training.WatchJobRequest(name=name, after_sequence=cursor))

    cursor, last = after or 0, None
    async with aclosing(follow(session, open_stream, lambda message: message.sequence, after)) as messages:
        async for message in messages:
            cursor = message.sequence or cursor
            if message.HasField("snapshot"):
                if message.snapshot.state in TERMINAL:
                    last = message.snapshot.last_sequence
                yield message.snapshot
            elif message.HasField("event"):
                if message.event.state_changed.to_state in TERMINAL:
                    last = message.sequence
                yield message.event
            if last is not None and cursor >= last:
                return
