"""Frames in, answers out: order, backpressure, what one frame and what a stream is refused for, and how streams end."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from bloomery.inference.v1 import Pixels, PredictRequest, PredictStreamRequest, PredictStreamResponse
from bloomery.training.v1 import ModelInput
from bloomery_inference.streaming import Streams
from bloomery_kit.errors import ResourceExhausted
from tests import databases
from tests.inference.asking import V1, fields_of, recorded
from tests.inference.conftest import Service
from tests.inference.models import write_finder
from tests.inference.neighbours import PROJECT_UID
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import SIDE, white

DATABASES = databases.SQLITE

OPENING = PredictStreamRequest(options=PredictRequest(model_version=V1))


@pytest.fixture
async def finding(service: Service, tmp_path: Path) -> Service:
    """The service with a model that sees one box around what is white."""
    directory = write_finder(tmp_path / "model", side=SIDE)
    item = with_facts(trained(1), input=ModelInput(height=SIDE, width=SIDE, resize="letterbox"))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    await recorded(service)
    return service


def pixels(left: int, width: int = 8) -> Pixels:
    """A black picture of the model's size with a white block of 8 rows at `left`."""
    picture = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    picture[16:24, left : left + width] = 255
    return Pixels(width=SIDE, height=SIDE, rgb=picture.tobytes())


async def answers(service: Service, *frames: PredictStreamRequest) -> list[PredictStreamResponse]:
    return [answer async for answer in service.predictions.PredictStream(iter((OPENING, *frames)))]


async def test_frames_are_answered_in_their_order_with_number_and_time(finding: Service) -> None:
    frames = [
        PredictStreamRequest(number=7 + 2 * place, time=Duration(nanos=place * 40_000_000), pixels=pixels(place))
        for place in range(20)
    ]
    found = await answers(finding, *frames)
    assert [one.number for one in found] == [frame.number for frame in frames]
    assert [one.time for one in found] == [frame.time for frame in frames]
    assert [round(one.prediction.shapes[0].box.x) for one in found] == list(range(20))
    assert found[0].prediction.model_version == V1
    assert (found[0].prediction.width, found[0].prediction.height) == (SIDE, SIDE)


async def test_an_encoded_frame_and_its_pixels_are_seen_alike(finding: Service) -> None:
    picture = Pixels(width=40, height=20, rgb=b"\xff" * 2400)
    encoded, raw = await answers(
        finding, PredictStreamRequest(image=white(40, 20)), PredictStreamRequest(pixels=picture)
    )
    assert encoded.prediction.shapes == raw.prediction.shapes
    assert (raw.prediction.width, raw.prediction.height) == (40, 20)


async def test_what_the_server_has_already_is_a_frame_too_and_what_it_lacks_stops_no_other(finding: Service) -> None:
    await finding.objects.put(f"{PROJECT_UID}/{hashlib.sha256(white(40, 20)).hexdigest()}", white(40, 20))
    kept = f"sha256:{hashlib.sha256(white(40, 20)).hexdigest()}"
    found = await answers(
        finding,
        PredictStreamRequest(blob=kept),
        PredictStreamRequest(blob=f"sha256:{'0' * 64}"),
        PredictStreamRequest(asset="projects/others/assets/a"),
        PredictStreamRequest(image=white(40, 20)),
    )
    assert [one.status.code for one in found] == [0, 5, 3, 0]
    assert found[0].prediction.shapes == found[3].prediction.shapes


async def test_a_frame_that_cannot_be_used_stops_no_other(finding: Service) -> None:
    broken = (
        PredictStreamRequest(image=b"no image"),
        PredictStreamRequest(),
        PredictStreamRequest(image=white(8, 8), pixels=pixels(0)),
        PredictStreamRequest(pixels=Pixels(width=2, height=2, rgb=b"\0" * 11)),
        PredictStreamRequest(pixels=Pixels(width=-1, height=-1, rgb=b"\0" * 3)),
        PredictStreamRequest(pixels=Pixels()),
    )
    good = PredictStreamRequest(pixels=pixels(5))
    found = await answers(finding, good, *broken, good)
    assert [one.status.code for one in found] == [0, 3, 3, 3, 3, 3, 3, 0]
    assert "NOT_AN_IMAGE" in str(found[1].status)
    assert "exactly one of image, pixels, asset and blob" in found[3].status.message
    assert "11 were sent" in found[4].status.message
    assert [one.HasField("prediction") for one in found] == [True, *[False] * 6, True]


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ([], ["options"]),
        ([PredictStreamRequest(pixels=Pixels(rgb=b"x"))], ["options", "image"]),
        ([OPENING, OPENING], ["options"]),
        ([PredictStreamRequest(options=PredictRequest(model_version=V1, threshold=2))], ["threshold"]),
        ([PredictStreamRequest(options=PredictRequest(model_version=V1, classes=["bird"]))], ["classes"]),
        ([PredictStreamRequest(options=PredictRequest(model_version=V1, image=b"x"))], ["options.image"]),
    ],
)
async def test_what_is_wrong_with_all_frames_ends_the_stream(
    finding: Service, messages: list[PredictStreamRequest], fields: list[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        [one async for one in finding.predictions.PredictStream(iter(messages))]
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(refused.value) == fields


async def test_a_version_that_is_not_there_is_told_before_any_frame(finding: Service) -> None:
    opening = PredictStreamRequest(options=PredictRequest(model_version=f"{V1}9"))
    call = finding.predictions.PredictStream()
    await call.write(opening)
    assert await call.code() == grpc.StatusCode.NOT_FOUND


async def test_streams_wait_for_their_turn_where_single_predictions_are_refused(finding: Service) -> None:
    frames = [PredictStreamRequest(number=number, pixels=pixels(number)) for number in range(12)]
    found = await asyncio.gather(*(answers(finding, *frames) for _ in range(3)))
    assert [[one.number for one in each] for each in found] == [list(range(12))] * 3
    assert not any(one.HasField("status") for each in found for one in each)


async def test_a_server_that_is_about_to_stop_answers_what_it_has_and_ends_well(finding: Service) -> None:
    call = finding.predictions.PredictStream()
    await call.write(OPENING)
    await call.write(PredictStreamRequest(number=1, pixels=pixels(1)))
    first = await call.read()
    assert isinstance(first, PredictStreamResponse)
    assert first.number == 1
    finding.app._predictions._streams._draining.set()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


class Counted:
    """Numbers, and how many of them somebody has taken."""

    def __init__(self, items: Iterable[int]) -> None:
        self.items = items
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[int]:
        for item in self.items:
            self.taken += 1
            yield item


def streams(draining: asyncio.Event | None = None, seconds: float = 60.0, **limits: int) -> Streams:
    given = {"streams": 2, "frames": 3, "held_bytes": 100, **limits}
    return Streams(draining or asyncio.Event(), **given, lifetime=lambda: seconds)


async def twice(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_no_more_frames_are_read_than_are_held_until_their_answers_are_taken() -> None:
    given = Counted(range(10))
    found = streams().answers(aiter(given), twice, lambda _: 1)
    assert await anext(found) == 0
    await settled()
    assert given.taken == 3
    assert await anext(found) == 2
    await settled()
    assert given.taken == 4
    assert [one async for one in found] == list(range(4, 20, 2))


async def test_frames_of_all_streams_share_their_bytes_and_a_larger_one_is_held_alone() -> None:
    shared = streams(frames=5)
    held = 0

    async def weigh(size: int) -> int:
        nonlocal held
        held += size
        assert held <= 100 or held == size
        await settled()
        held -= size
        return size

    sizes = [10, 60, 60, 300, 1, 99, 2, 100]

    async def through() -> list[int]:
        return [one async for one in shared.answers(aiter(Counted(sizes)), weigh, lambda size: size)]

    assert list(await asyncio.gather(through(), through())) == [sizes, sizes]


async def test_an_error_ends_a_stream_after_the_answers_before_it_and_leaves_nothing_running() -> None:
    async def fail(number: int) -> int:
        if number == 2:
            raise ValueError("broken")
        return number

    found, seen = streams().answers(aiter(Counted(range(10))), fail, lambda _: 1), list[int]()
    with pytest.raises(ValueError, match="broken"):
        async for one in found:
            seen.append(one)
    assert seen == [0, 1]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stream_ends_after_its_lifetime_with_what_it_has_taken_answered() -> None:
    async def endless() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    assert [one async for one in streams(seconds=0.05).answers(endless(), twice, lambda _: 1)] == [2]


async def test_streams_are_bounded_and_one_that_is_left_makes_room() -> None:
    some = streams(streams=1)
    first = some.answers(aiter(Counted(range(10))), twice, lambda _: 1)
    assert await anext(first) == 0
    with pytest.raises(ResourceExhausted) as refused:
        await anext(some.answers(aiter(Counted([1])), twice, lambda _: 1))
    assert refused.value.reason == "TOO_MANY_STREAMS"
    await first.aclose()
    assert [one async for one in some.answers(aiter(Counted([1])), twice, lambda _: 1)] == [2]
