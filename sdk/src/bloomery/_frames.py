"""Predicting on frames by a stream that survives a restart of the server."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import grpc

from bloomery import errors
from bloomery._concurrency import unbroken
from bloomery._fields import AssetFields
from bloomery._images import Blob, ImageLike, content_of
from bloomery._results import Predicted, Prediction, Source
from bloomery._session import Session
from bloomery._status import from_status
from bloomery._watch import REOPEN_PAUSE, patient_pause
from bloomery.annotation.v1 import Asset
from bloomery.inference import v1 as inference

if TYPE_CHECKING:
    Call: TypeAlias = grpc.aio.StreamStreamCall[inference.PredictStreamRequest, inference.PredictStreamResponse]


@dataclass(frozen=True)
class Frame:
    """One picture of a video: its place, counted from 0, and at how many seconds from the start it is shown."""

    image: ImageLike
    number: int
    time: float


FrameT = TypeVar("FrameT", bound="ImageLike | Frame")
_UNANSWERED = 6
"""Frames that may be on their way."""
_SILENCE = 120.0
"""Seconds for the answer to a frame."""
_ENDED = "STREAM_ENDED"
"""The reason of a stream that ended while a frame was sent, which hides what the server said."""
_WRITE_FAILED = "Internal error from Core"
"""The status that grpc makes of a write that meets the end of the call, whatever the server said (grpc 1.81)."""


@dataclass(frozen=True)
class _Sent(Generic[FrameT]):
    """A frame that has no answer yet; `error` where it cannot be sent."""

    image: FrameT
    request: inference.PredictStreamRequest
    source: Source = None
    error: errors.InvalidArgument | None = None


async def one_by_one(items: Iterable[FrameT] | AsyncIterable[FrameT]) -> AsyncGenerator[FrameT, None]:
    """The items; those that block are waited for in a thread, and nobody leaves while one is being made."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    blocking = iter(items)
    while found := await unbroken(asyncio.create_task(asyncio.to_thread(_next, blocking))):
        yield found[0]


def _next(items: "Iterable[FrameT]") -> "tuple[FrameT] | None":
    for item in items:
        return (item,)
    return None


class Exchange(Generic[FrameT]):
    """Frames against predictions. What is not answered when a stream ends is sent again by the next."""

    def __init__(self, session: Session, options: inference.PredictRequest, frames: AsyncIterator[FrameT]) -> None:
        self._session = session
        self._opening = inference.PredictStreamRequest(options=options)
        self._frames = frames
        self._unanswered: deque[_Sent[FrameT]] = deque()
        self._answered = 0
        self._room = asyncio.Semaphore(_UNANSWERED)
        self._news = asyncio.Event()
        self._spoiled = asyncio.Event()
        self._filled = False

    async def predicted(self) -> AsyncGenerator[Predicted[FrameT], None]:
        """What becomes of each frame, in their order.

        Raises:
            Unavailable: nothing came through for as long as the timeouts allow.
            BloomeryError: the server refuses the stream.
            Exception: of the frames' own iterator, after the answers to those before.
        """
        filling = asyncio.create_task(self._fill())
        filling.add_done_callback(lambda _: self._end())
        attempt, failing_since, said = 1, 0.0, None
        try:
            while True:
                pause = REOPEN_PAUSE
                try:
                    async with aclosing(self._once()) as found:
                        async for one in found:
                            attempt, said = 1, None
                            yield one
                except errors.BloomeryError as error:
                    failing_since = self._session.clock() if attempt == 1 else failing_since
                    if said is None or error.reason != _ENDED:
                        said = error
                    pause = patient_pause(self._session, said, attempt, failing_since, self._patience(said))
                    attempt += 1
                if self._filled and not self._unanswered:
                    break
                await self._session.sleep(pause)
            await filling
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    def _patience(self, error: errors.BloomeryError) -> float:
        """Seconds in which a failure must pass: a server comes back after a while, but one that is there says why."""
        is_there = error.reason != errors.Unavailable.reason
        return self._session.timeouts.total if is_there else self._session.patience()

    def _end(self) -> None:
        self._filled = True
        self._news.set()

    async def _fill(self) -> None:
        """Make messages of frames while there is room for more."""
        number = 0
        async for image in self._frames:
            await self._room.acquire()
            self._unanswered.append(await asyncio.to_thread(_sent, image, number))
            self._news.set()
            if self._unanswered[-1].error:
                self._spoiled.set()
            number += 1

    async def _once(self) -> AsyncGenerator[Predicted[FrameT], None]:
        """What one stream answers until it ends."""
        call = self._session.exchange(self._session.predictions.PredictStream)
        begun = asyncio.Event()
        sending = asyncio.create_task(self._send(call, begun))
        reading = asyncio.ensure_future(call.read())
        try:
            while True:
                await self._wait(reading)
                while self._is_spoiled():
                    yield self._take(None)
                if not reading.done():
                    continue
                reply = reading.result()
                if not isinstance(reply, inference.PredictStreamResponse):
                    return
                begun.set()
                yield self._take(reply)
                reading = asyncio.ensure_future(call.read())
        except grpc.aio.AioRpcError as error:
            if error.details() == _WRITE_FAILED:
                raise errors.Unavailable("the stream ended while a frame was sent", reason=_ENDED) from None
            raise self._session.failure(error) from None
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)

    async def _send(self, call: "Call", begun: asyncio.Event) -> None:
        # A call that has ended says why to whoever reads.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(self._opening)
            # What the server refuses at once, or with the first frame, must not meet a write: its reason would be lost.
            await call.initial_metadata()
            place = self._answered
            while True:
                self._news.clear()
                while (next_one := max(place, self._answered) - self._answered) < len(self._unanswered):
                    one = self._unanswered[next_one]
                    place = self._answered + next_one + 1
                    if not one.error:
                        await call.write(one.request)
                        await begun.wait()
                if self._filled:
                    await call.done_writing()
                    return
                await self._news.wait()

    async def _wait(self, reading: asyncio.Future[Any]) -> None:
        """Wait for an answer, or for a frame that needs none. Raises Unavailable where one is due and none comes."""
        self._spoiled.clear()
        if self._is_spoiled():
            return
        spoiled = asyncio.create_task(self._spoiled.wait())
        both: list[asyncio.Future[Any]] = [reading, spoiled]
        try:
            while not (await asyncio.wait(both, timeout=_SILENCE, return_when=asyncio.FIRST_COMPLETED))[0]:
                if self._unanswered:
                    raise errors.Unavailable(f"no answer to a frame came for {_SILENCE:.0f} s")
        finally:
            spoiled.cancel()

    def _is_spoiled(self) -> bool:
        """Whether the next frame in turn could not be sent."""
        return bool(self._unanswered and self._unanswered[0].error)

    def _take(self, reply: inference.PredictStreamResponse | None) -> Predicted[FrameT]:
        one = self._unanswered.popleft()
        self._answered += 1
        self._room.release()
        if reply is None:
            return Predicted(one.image, error=one.error)
        if reply.status.code:
            error = from_status(reply.status)
            assert isinstance(error, errors.InvalidArgument | errors.NotFound)
            return Predicted(one.image, error=error)
        return Predicted(one.image, Prediction(reply.prediction, one.source))


def _sent(image: FrameT, number: int) -> _Sent[FrameT]:
    request = inference.PredictStreamRequest(number=number)
    content: object = image
    if isinstance(image, Frame):
        request.number, content = image.number, image.image
        request.time.FromNanoseconds(round(image.time * 1e9))
    if isinstance(content, Asset | AssetFields):
        request.asset = content.name
        return _Sent(image, request)
    if isinstance(content, Blob):
        request.blob = content.uri
        return _Sent(image, request)
    try:
        request.image, pixels, source = content_of(content)
    except errors.InvalidArgument as error:
        return _Sent(image, request, error=error)
    if pixels:
        request.pixels.CopyFrom(pixels)
    return _Sent(image, request, source)
