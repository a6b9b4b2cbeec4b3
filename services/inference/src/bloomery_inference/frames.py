"""The messages of a stream of frames."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bloomery.inference.v1 import PredictRequest, PredictResponse, PredictStreamRequest, PredictStreamResponse
from bloomery_inference.images import ImageSource, raw
from bloomery_inference.question import ImageContent, RawImage
from bloomery_kit.errors import BloomeryError, FieldViolation, InvalidArgument, Violations, to_status


async def opening(requests: AsyncIterator[PredictStreamRequest]) -> PredictRequest:
    """What a stream asks for, its first message. Raise InvalidArgument where that is something else."""
    async for request in requests:
        violations = Violations()
        if not request.HasField("options"):
            violations.add("options", "the first message of a stream says what to predict with")
        if size_of(request) or request.asset or request.blob:
            violations.add("image", "frames come in the messages behind the first one")
        violations.raise_if_any()
        return request.options
    raise InvalidArgument([FieldViolation("options", "a stream needs a first message that says what to predict with")])


async def frames_of(requests: AsyncIterator[PredictStreamRequest]) -> AsyncIterator[PredictStreamRequest]:
    """The messages behind the first one. Raise InvalidArgument where one has options again."""
    async for request in requests:
        if request.HasField("options"):
            text = "only the first message of a stream has them; open another stream for others"
            raise InvalidArgument([FieldViolation("options", text)])
        yield request


def size_of(frame: PredictStreamRequest) -> int:
    """Bytes of a frame's image."""
    return len(frame.image) + len(frame.pixels.rgb)


async def image_of(frame: PredictStreamRequest, images: ImageSource, project: str) -> ImageContent:
    """The image of a frame of a project.

    Raise InvalidArgument where it has none, two, or pixels that are not as many as it says, or as ImageSource does;
    NotFound.
    """
    if sum(map(bool, (frame.image, frame.HasField("pixels"), frame.asset, frame.blob))) != 1:
        raise InvalidArgument([FieldViolation("image", "set exactly one of image, pixels, asset and blob")])
    if not frame.HasField("pixels"):
        return await images.find(project, image=frame.image, asset=frame.asset, blob=frame.blob)
    pixels = frame.pixels
    if min(pixels.width, pixels.height) < 1 or len(pixels.rgb) != 3 * pixels.width * pixels.height:
        text = (
            f"{pixels.width} x {pixels.height} pixels take 3 bytes each, {len(pixels.rgb)} were sent; width and height "
            "are at least 1"
        )
        raise InvalidArgument([FieldViolation("pixels", text)])
    return raw(RawImage(pixels.width, pixels.height, pixels.rgb))


def reply(frame: PredictStreamRequest, answer: PredictResponse | BloomeryError) -> PredictStreamResponse:
    """The answer to a frame: what is seen on it, or why it could not be used."""
    message = PredictStreamResponse(number=frame.number)
    if frame.HasField("time"):
        message.time.CopyFrom(frame.time)
    if isinstance(answer, PredictResponse):
        message.prediction.CopyFrom(answer)
    else:
        message.status.CopyFrom(to_status(answer))
    return message
