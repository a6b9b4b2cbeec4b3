"""Predicting on videos, cameras and whatever else comes frame by frame."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Generic, Unpack

from bloomery._aio.predicting import AsyncPredicting, M, PredictOptions
from bloomery._frames import Exchange, Frame, FrameT, one_by_one
from bloomery._results import Predicted


class AsyncStreaming(AsyncPredicting[M], Generic[M]):
    """Something that sees what moves."""

    async def predict_stream(
        self, frames: Iterable[FrameT] | AsyncIterable[FrameT], **options: Unpack[PredictOptions]
    ) -> AsyncGenerator[Predicted[FrameT], None]:
        """Predict on frames as they come, and yield what became of each, in their order.

        Made for what has no end or is too much to list: frames are taken a few ahead of the answers, so that a model
        that is slower than a camera, or a reader that is slower than the model, slows down the iterator. Survives
        restarts of the server. A frame that cannot be read or used does not stop the others: its `error` says why.
        Files and bytes are sent as they are, pictures and arrays as their pixels, which costs more of the network and
        no time to encode.

        Args:
            frames: what `predict` takes, or `Frame`s of it; an iterator that blocks is waited for in a thread.
            options: as `predict` takes them.

        Raises:
            InvalidArgument: an option is wrong.
            NotFound: there is no such variant, or the version was deleted.
            FailedPrecondition: the version has no READY variant; `optimize` makes one.
            Unavailable: the server stayed away for longer than the timeouts allow, or says that it, or a deployment,
                cannot answer and goes on to for as long as a call may take (`Timeouts.total`).
        """
        async with aclosing(one_by_one(frames)) as given:
            exchange = Exchange(self._session, self._asked(**options), given)
            async with aclosing(exchange.predicted()) as found:
                async for one in found:
                    yield one

    async def predict_video(
        self, video: str | Path, *, every: int = 1, fps: float | None = None, **options: Unpack[PredictOptions]
    ) -> AsyncIterator[Predicted[Frame]]:
        """Predict on the frames of a video, as they are shown: turned as a phone has held it.

        Args:
            video: a file, or the URL of a camera such as "rtsp://..."; "-" for what comes through standard input.
            every: look at every so many frames only.
            fps: look at so many frames a second at most, by the times at which they are shown.
            options: as `predict` takes them.

        Raises:
            InvalidArgument: it cannot be opened or has no pictures; behind the last frame, where parts of it were
                damaged. Or an option is wrong.
            FailedPrecondition: the extra `bloomery[video]` is not installed. Else as `predict_stream`.
        """
        from bloomery.video import frames_of

        with closing(frames_of(video, every=every, fps=fps)) as frames:
            async with aclosing(self.predict_stream(frames, **options)) as found:
                async for one in found:
                    yield one
