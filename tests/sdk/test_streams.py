"""Frames through a stream: as they are, in order, one for one, whatever becomes of the stream."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bloomery import AsyncClient, Client, Frame, ModelVersion, Timeouts, errors
from bloomery._address import Address
from bloomery._frames import Exchange, one_by_one
from bloomery._session import Session
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Pauses
from tests.sdk.fake import Fake
from tests.sdk.test_predict import PIXELS

Requests = AsyncIterator[inference.PredictStreamRequest]
Replies = AsyncIterator[object]


def answered(request: inference.PredictStreamRequest) -> inference.PredictStreamResponse:
    """A frame's answer names its number."""
    seen = inference.PredictResponse(shapes=[vision.Shape(label=str(request.number))], width=40, height=30)
    return inference.PredictStreamResponse(number=request.number, time=request.time, prediction=seen)


async def all_of_them(requests: Requests) -> Replies:
    async for request in requests:
        if not request.HasField("options"):
            yield answered(request)


@pytest.fixture
def model(fake: Fake, client: Client) -> ModelVersion:
    world.settle(fake)
    fake.converse("PredictStream", all_of_them)
    return client.model_version("cells-v@1")


def labels(found: "Iterator[Any]") -> list[str | None]:
    return [one.prediction.shapes[0].label if one.prediction else None for one in found]


def sent(fake: Fake) -> list[inference.PredictStreamRequest]:
    return [call for call in fake.calls["PredictStream"] if not call.HasField("options")]


def test_frames_are_sent_as_they_are_and_answered_in_their_order(
    fake: Fake, model: ModelVersion, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(file)
    images: list[Any] = [PIXELS, file, file.read_bytes(), Image.fromarray(PIXELS), Frame(PIXELS, 70, 2.5)]
    found = list(model.predict_stream(images, threshold=0.5, classes=["rbc"]))
    assert [one.image for one in found[1:]] == images[1:]
    assert labels(iter(found)) == ["0", "1", "2", "3", "70"]
    opening = fake.calls["PredictStream"][0].options
    assert (opening.model_version, opening.threshold, opening.classes) == (model.name, 0.5, ["RBC"])
    raw = inference.Pixels(width=40, height=30, rgb=PIXELS.tobytes())
    assert [one.pixels for one in sent(fake)] == [raw, inference.Pixels(), inference.Pixels(), raw, raw]
    assert sent(fake)[1].image == sent(fake)[2].image == file.read_bytes()
    assert sent(fake)[4].time.ToNanoseconds() == 2_500_000_000
    for one in found:
        assert one.prediction is not None
        assert one.prediction.save(tmp_path / "seen.png").is_file()


def test_what_the_server_or_this_machine_cannot_use_stops_no_other(
    fake: Fake, model: ModelVersion, tmp_path: Path
) -> None:
    async def refusing(requests: Requests) -> Replies:
        async for request in requests:
            if request.image == b"odd":
                refused = served.InvalidArgument([served.FieldViolation("image", "is odd")], reason="NOT_AN_IMAGE")
                yield inference.PredictStreamResponse(number=request.number, status=served.to_status(refused))
            elif not request.HasField("options"):
                yield answered(request)

    fake.converse("PredictStream", refusing)
    images: list[Any] = [b"", b"1", tmp_path / "none.png", b"odd", 5, b"2", *[b""] * 20]
    found = list(model.predict_stream(images))
    assert labels(iter(found)) == [None, "1", None, None, None, "5", *[None] * 20]
    assert [one.error.reason for one in found[2:5] if one.error] == [
        "INVALID_ARGUMENT",
        "NOT_AN_IMAGE",
        "INVALID_ARGUMENT",
    ]


@pytest.mark.parametrize("by", ["end", "error"])
def test_a_stream_that_ends_early_goes_on_with_the_next(fake: Fake, model: ModelVersion, by: str) -> None:
    streams = 0

    async def breaking(requests: Requests) -> Replies:
        nonlocal streams
        streams += 1
        count = 0
        async for request in requests:
            if request.HasField("options"):
                continue
            count += 1
            if count > 3 and streams < 4:
                if by == "error":
                    yield served.Unavailable("TRITON_UNAVAILABLE", "not now", retry_after=0.01)
                return
            yield answered(request)

    fake.converse("PredictStream", breaking)
    assert labels(model.predict_stream([b"x"] * 20)) == [str(number) for number in range(20)]
    assert streams == 4


def test_a_stream_survives_a_restart_of_the_server(fake: Fake, model: ModelVersion) -> None:
    def frames() -> Iterator[bytes]:
        for number in range(30):
            if number == 10:
                fake.restart()
            yield b"x"

    assert labels(model.predict_stream(frames())) == [str(number) for number in range(30)]


async def test_what_a_server_says_of_itself_is_waited_for_as_long_as_at_a_call(fake: Fake, pauses: Pauses) -> None:
    async def without_replica(requests: Requests) -> Replies:
        # The stream's options, and the frame: a write that meets the end would hide the reason.
        await anext(requests)
        await anext(requests)
        yield served.Unavailable("NO_REPLICA", "no replica of triton is live", retry_after=1.0)

    fake.converse("PredictStream", without_replica)
    timeouts = Timeouts(total=10.0, outage=1000.0)
    session = Session(Address(fake.endpoint, "secret"), timeouts=timeouts, sleep=pauses.sleep, clock=pauses.clock)
    exchange = Exchange(session, inference.PredictRequest(), one_by_one([b"1"]))
    with pytest.raises(errors.Unavailable, match="no replica of triton is live"):
        [one async for one in exchange.predicted()]
    assert sum(pauses.taken) <= 10.0
    await session.close()


def test_frames_are_taken_only_as_fast_as_answers_are(fake: Fake, model: ModelVersion) -> None:
    taken = 0

    def counting() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(200):
            taken += 1
            yield b"x"

    found = model.predict_stream(counting())
    for number in range(1, 20):
        assert next(found).prediction is not None
        assert taken <= number + 8
    found.close()  # type: ignore[attr-defined]
    assert taken < 40


def test_a_wrong_option_ends_it_and_so_does_the_error_of_an_iterator_after_what_was_seen(
    fake: Fake, model: ModelVersion
) -> None:
    def failing() -> Iterator[bytes]:
        yield from [b"x"] * 3
        raise OSError("the camera is gone")

    seen = []
    with pytest.raises(OSError, match="the camera is gone"):
        for one in model.predict_stream(failing()):
            seen.append(one)  # noqa: PERF402 - it is looked at after the error
    assert labels(iter(seen)) == ["0", "1", "2"]

    async def refusing(requests: Requests) -> Replies:
        async for _ in requests:
            yield served.FailedPrecondition("NO_VARIANT", "no variant serves")

    fake.converse("PredictStream", refusing)
    with pytest.raises(errors.FailedPrecondition):
        list(model.predict_stream([b"x"]))


def test_no_frames_are_no_answers_and_no_error(model: ModelVersion) -> None:
    assert list(model.predict_stream([])) == []


async def test_an_asynchronous_iterator_is_taken_and_left(fake: Fake, aclient: AsyncClient) -> None:
    world.settle(fake)
    fake.converse("PredictStream", all_of_them)
    left = False

    async def camera() -> AsyncIterator[bytes]:
        nonlocal left
        try:
            while True:
                yield b"x"
        finally:
            left = True

    version = await aclient.model_version("cells-v@1")
    frames = camera()
    found = version.predict_stream(frames)
    assert [(await anext(found)).error for _ in range(5)] == [None] * 5
    await found.aclose()
    await frames.aclose()  # type: ignore[attr-defined]
    assert left


def test_a_shape_of_arrays_that_is_no_picture_is_told(model: ModelVersion) -> None:
    [one] = model.predict_stream([np.zeros((4, 4, 2), np.uint8)])
    assert one.error is not None
    assert "not an array [4, 4, 2]" in one.error.message
