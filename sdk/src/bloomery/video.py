"""Videos: their frames as they are shown, and videos made of frames. Needs the extra `bloomery[video]`, which is PyAV.

Frames are counted by decoding them, as what files say of it is often wrong, and turned and mirrored as the file says
(its display matrix). Times are those of the frames, from that of the first one, so that a variable rate is kept.
"""

import math
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from bloomery._files import replacing
from bloomery._frames import Frame
from bloomery.errors import FailedPrecondition, InvalidArgument, Violation

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

SUFFIXES = frozenset(
    {".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
"""Of the files that are taken for videos."""
STANDARD_INPUT = "-"
_SECONDS = (15.0, 15.0)
"""To wait for a source to open, and for more of it."""
_TICKS = Fraction(1, 90_000)
"""Unit of times in a written video: what 24, 25, 30, 50 and 60 frames a second all divide."""
_MOST_DAMAGED = 10_000
"""Packets that cannot be decoded, after which nobody looks for more."""
_QUALITY = {"crf": "20", "preset": "veryfast"}


def is_video(source: str | Path) -> bool:
    """Whether a name is that of a video: by its ending, a URL, or "-" for standard input."""
    return str(source) == STANDARD_INPUT or "://" in str(source) or Path(source).suffix.lower() in SUFFIXES


def frames_of(source: str | Path, *, every: int = 1, fps: float | None = None) -> Generator[Frame, None, None]:
    """The frames of a video as they are shown, each with an RGB picture, its place and its time.

    Args:
        source: a file, a URL that FFmpeg opens, or "-" for standard input.
        every: only every so many frames, the first, then those whose number it divides.
        fps: at most so many frames a second, by their times; the first of each span.

    Raises:
        InvalidArgument: it cannot be opened or has no pictures; or, behind the last frame, parts of it were damaged.
        FailedPrecondition: PyAV is not installed.
    """
    if every < 1 or (fps is not None and not 0 < fps < math.inf):
        raise _refused("every must be at least 1, and fps a number greater than 0")
    return _chosen(_all_frames(source), every, fps)


def _chosen(frames: Generator[Frame, None, None], every: int, fps: float | None) -> Generator[Frame, None, None]:
    span = -1
    with closing(frames):
        for frame in frames:
            here = int(frame.time * fps + 1e-6) if fps else span + 1
            if frame.number % every == 0 and here > span:
                span = here
                yield frame


def _all_frames(source: str | Path) -> Generator[Frame, None, None]:
    first, number, damaged = None, 0, list[str]()
    with _opened(source) as container:
        for decoded in _decoded(container, damaged):
            at = _time(decoded, number)
            first = at if first is None else first
            yield Frame(_picture(decoded), number, max(0.0, float(at - first)))
            number += 1
    if not number:
        raise _refused(f"{source} has no frame that can be decoded")
    if damaged:
        text = f"{source} is damaged: {len(damaged)} of its packets cannot be decoded ({damaged[0]}), others were"
        raise _refused(text, "VIDEO_DAMAGED")


def _decoded(container: "InputContainer", damaged: list[str]) -> "Iterator[VideoFrame]":
    """All frames; what cannot be decoded is passed over, as every player does, and told."""
    from av.error import FFmpegError

    packets = container.demux(video=0)
    while True:
        try:
            yield from next(packets).decode()
        except StopIteration:
            return
        except FFmpegError as error:
            damaged.append(str(error.strerror))
            if len(damaged) > _MOST_DAMAGED:
                return


@contextmanager
def _opened(source: str | Path) -> "Iterator[InputContainer]":
    av = _library()
    file: Any = sys.stdin.buffer if str(source) == STANDARD_INPUT else str(source)
    options = {"rtsp_transport": "tcp"} if str(source).startswith("rtsp://") else {}
    try:
        container = av.open(file, options=options, timeout=_SECONDS)
    except (av.error.FFmpegError, OSError) as error:
        raise _refused(f"{source} cannot be opened as a video: {error.strerror}") from None
    with container:
        if not container.streams.video:
            raise _refused(f"{source} has no pictures")
        if isinstance(source, Path) or "://" not in source:
            container.streams.video[0].thread_type = "AUTO"
        yield container


def _library() -> Any:
    try:
        import av
    except ImportError:
        hint = 'pip install "bloomery[video]"'
        raise FailedPrecondition("videos need PyAV, which is not here", reason="EXTRA_MISSING", hint=hint) from None
    return av


def _time(frame: "VideoFrame", number: int) -> Fraction:
    """Seconds by the video's own clock; of what has no times, by its number at 25 a second."""
    if frame.pts is None or frame.time_base is None:
        return Fraction(number, 25)
    return frame.pts * frame.time_base


def _picture(frame: "VideoFrame") -> Image.Image:
    """A frame as it is shown.

    The display matrix maps (x, y) to (a x + c y, b x + d y), y down; libavutil/display.h has it.
    """
    picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = memoryview(bytes(matrix)).cast("i")[:5]
    if abs(b) > abs(a):
        # Width and height change places.
        picture = picture.transpose(Image.Transpose.TRANSPOSE)
        a, d = c, b
    if a < 0:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if d < 0:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return picture


def _refused(message: str, reason: str = "VIDEO_UNREADABLE") -> InvalidArgument:
    error = InvalidArgument(message, reason=reason)
    error.violations = (Violation("video", message),)
    return error


class VideoWriter:
    """Takes the pictures of a video, one after the other."""

    def __init__(self, container: "OutputContainer") -> None:
        self._container = container
        self._stream: VideoStream | None = None
        self._last = -1

    def add(self, picture: Image.Image, time: float) -> None:
        """Write the next picture, RGB, shown from `time` in seconds on; at the earliest a tick after the one before."""
        stream = self._stream = self._stream or self._begin(picture)
        if picture.size != (stream.width, stream.height):
            fitted = Image.new("RGB", (stream.width, stream.height))
            fitted.paste(picture)
            picture = fitted
        frame = _library().VideoFrame.from_image(picture)
        self._last = max(self._last + 1, round(time / _TICKS))
        frame.pts, frame.time_base = self._last, _TICKS
        self._container.mux(stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder has held back."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())

    def _begin(self, picture: Image.Image) -> "VideoStream":
        stream: VideoStream = self._container.add_stream("libx264", rate=30, options=_QUALITY)
        stream.width, stream.height = (side + side % 2 for side in picture.size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TICKS
        return stream


@contextmanager
def writing(path: str | Path) -> Iterator[VideoWriter]:
    """Make an MP4 (H.264) of pictures, in its place once the block has ended well.

    It has the size of the first picture, a pixel more where a side is odd, which the format cannot hold; others are cut
    off or filled up with black. Times are kept to 1/90000 s.

    Raises:
        FailedPrecondition: PyAV is not installed.
    """
    target = Path(path)
    av = _library()
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part, av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as file:
        writer = VideoWriter(file)
        yield writer
        writer.finish()
