"""Prediction on a region of an image, and on its tiles."""

import asyncio
import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from numpy.typing import NDArray
from PIL import Image

from bloomery.inference.v1 import MaskForm, PredictRequest, PredictResponse, Tiling
from bloomery.training.v1 import ModelInput
from bloomery.vision.v1 import Box, Shape, TaskType
from bloomery_inference.budget import Budget
from bloomery_inference.runtime import Run, Tensors
from bloomery_kit.errors import to_status
from bloomery_vision.geometry import Mask, Polygon
from bloomery_vision.messages import shape_value
from bloomery_vision.rasterize import rasterize
from tests import databases
from tests.inference.asking import V1, fields_of, recorded
from tests.inference.conftest import Service
from tests.inference.models import write_finder, write_model
from tests.inference.samples import trained, with_facts, with_variant

DATABASES = databases.SQLITE

SIDE = 64
Rectangle = tuple[int, int, int, int]


def picture(width: int, height: int, *rectangles: Rectangle) -> bytes:
    """A black image with white rectangles of x, y, width, height."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for x, y, across, down in rectangles:
        pixels[y : y + down, x : x + across] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


async def serving(service: Service, directory: Path, task: TaskType.ValueType, decoder: str = "yolo") -> Service:
    resize = "center-crop" if task == TaskType.TASK_TYPE_CLASSIFY else "letterbox"
    size = ModelInput(height=SIDE, width=SIDE, resize=resize)
    item = with_facts(trained(1), task=task, decoder=decoder, input=size)
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    await recorded(service)
    return service


@pytest.fixture
async def detecting(service: Service, tmp_path: Path) -> Service:
    """A model that draws a box around all that is white."""
    directory = write_finder(tmp_path / "model", side=SIDE)
    return await serving(service, directory, TaskType.TASK_TYPE_DETECT)


@pytest.fixture
async def segmenting(service: Service, tmp_path: Path) -> Service:
    """A model that also says which pixels are white."""
    directory = write_finder(tmp_path / "model", side=SIDE, masks=True)
    return await serving(service, directory, TaskType.TASK_TYPE_SEGMENT)


@pytest.fixture
async def classifying(service: Service, tmp_path: Path) -> Service:
    """A model that sees a dog in what has something white."""
    answer = np.array([0.1, 0.9], dtype=np.float32)
    directory = write_model(tmp_path / "model", answer, side=SIDE)
    return await serving(service, directory, TaskType.TASK_TYPE_CLASSIFY, "probabilities")


async def predict(
    service: Service,
    image: bytes,
    region: tuple[float, float, float, float] | None = None,
    tiling: Tiling | None = None,
    **options: float,
) -> PredictResponse:
    request = PredictRequest(model_version=V1, image=image, tiling=tiling, **options)  # type: ignore[arg-type]
    if region:
        request.region.CopyFrom(Box(x=region[0], y=region[1], width=region[2], height=region[3]))
    return await service.predictions.Predict(request)


def corners(shape: Shape) -> tuple[float, float, float, float]:
    return shape.box.x, shape.box.y, shape.box.width, shape.box.height


def array(shape: Shape) -> NDArray[np.bool_]:
    return Mask(shape.mask.width, shape.mask.height, shape.mask.counts).to_array()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in to_status(error).details)
    return info.reason


async def refusal(service: Service, image: bytes, **asked: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predict(service, image, **asked)  # type: ignore[arg-type]
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return refused.value


@pytest.mark.parametrize("tiling", [None, Tiling(size=SIDE)], ids=["at once", "tiles"])
async def test_masks_are_outlines_where_they_are_asked_for(segmenting: Service, tiling: Tiling | None) -> None:
    image = picture(100, 80, (10, 10, 20, 20))
    [mask] = (await predict(segmenting, image, tiling=tiling)).shapes
    [outline] = (await predict(segmenting, image, tiling=tiling, masks=MaskForm.MASK_FORM_POLYGON)).shapes
    value = shape_value(outline)
    assert value is not None
    assert isinstance(value.geometry, Polygon)
    assert (rasterize(value.geometry, (100, 80), scale=(1, 1)).to_array() == array(mask)).all()
    assert (outline.label, outline.confidence) == (mask.label, mask.confidence)


async def test_only_the_region_is_seen_and_shapes_are_in_pixels_of_the_whole_image(detecting: Service) -> None:
    image = picture(200, 150, (10, 10, 20, 20), (110, 70, 16, 8))
    answer = await predict(detecting, image, (99.5, 59.2, 63.5, 63.8))
    assert (answer.width, answer.height) == (200, 150)
    [shape] = answer.shapes
    assert corners(shape) == pytest.approx((110, 70, 16, 8), abs=0.01)


async def test_a_region_is_cut_off_at_the_edges_of_the_image(detecting: Service) -> None:
    image = picture(100, 64, (80, 20, 20, 20))
    [shape] = (await predict(detecting, image, (36, -100, 500, 500))).shapes
    assert corners(shape) == pytest.approx((80, 20, 20, 20), abs=0.01)


async def test_masks_of_a_region_have_the_size_of_the_image(segmenting: Service) -> None:
    image = picture(200, 150, (10, 10, 20, 20), (112, 72, 16, 8))
    [shape] = (await predict(segmenting, image, (100, 60, 64, 64))).shapes
    found = array(shape)
    assert found.shape == (150, 200)
    # Prototypes are four pixels wide.
    assert found[73:79, 113:127].all()
    assert found.sum() == found[72:80, 112:128].sum()


async def test_a_classifier_says_what_is_in_the_region(classifying: Service) -> None:
    image = picture(200, 100, (150, 20, 20, 20))
    [shape] = (await predict(classifying, image, (140, 10, 50, 50))).shapes
    assert shape.label == "dog"
    assert list((await predict(classifying, image, (0, 0, 50, 50))).shapes) == []


@pytest.mark.parametrize("region", [(200, 0, 10, 10), (-20, 0, 20, 10), (0, 150, 5, 5)])
async def test_a_region_beside_the_image_is_refused(detecting: Service, region: Rectangle) -> None:
    error = await refusal(detecting, picture(200, 150), region=region)
    assert fields_of(error) == ["region"]
    said = error.details() or ""
    assert "200 x 150" in said
    assert f"the region {','.join(map(str, region))}" in said
    assert reason_of(error) == "REGION_OUTSIDE"


async def test_all_that_is_wrong_with_region_and_tiles_is_told(detecting: Service) -> None:
    tiling = Tiling(size=31, overlap=0.95)
    error = await refusal(detecting, picture(8, 8), region=(0, 0, 0, 5), tiling=tiling)
    assert fields_of(error) == ["region", "tiling.size", "tiling.overlap"]
    for region in ((float("nan"), 0, 5, float("inf")), (1e308, 0, 1e308, 5), (0, 0, 5, float("nan"))):
        error = await refusal(detecting, picture(8, 8), region=region)
        assert fields_of(error) == ["region"]


async def test_what_fits_into_one_tile_is_answered_as_without(detecting: Service) -> None:
    for image in (picture(64, 64, (10, 20, 30, 12)), picture(50, 31, (0, 0, 9, 31))):
        untiled = await predict(detecting, image)
        assert len(untiled.shapes) == 1
        for tiling in (Tiling(), Tiling(size=64, overlap=0.9), Tiling(size=500)):
            assert (await predict(detecting, image, tiling=tiling)).shapes == untiled.shapes


async def test_masks_that_fit_into_one_tile_are_answered_as_without(segmenting: Service) -> None:
    image = picture(60, 64, (10, 20, 30, 12))
    untiled = await predict(segmenting, image)
    assert len(untiled.shapes) == 1
    assert (await predict(segmenting, image, tiling=Tiling())).shapes == untiled.shapes


async def test_small_objects_are_seen_once_each_where_they_are(detecting: Service) -> None:
    # Tiles begin at 0, 45, 90, 136 and at 0, 43, 86: the second and the third are cut by some of them.
    objects = [(5, 5, 10, 10), (100, 5, 12, 14), (40, 100, 12, 14), (170, 120, 20, 10)]
    answer = await predict(detecting, picture(200, 150, *objects), tiling=Tiling())
    assert sorted(corners(shape) for shape in answer.shapes) == [
        pytest.approx(one, abs=0.01) for one in sorted(objects)
    ]
    assert {shape.label for shape in answer.shapes} == {"dog"}
    assert answer.timings.inference_ms < answer.timings.total_ms
    without = await predict(detecting, picture(200, 150, *objects))
    assert len(without.shapes) == 1


async def test_masks_of_tiles_are_those_of_the_whole_image(segmenting: Service) -> None:
    objects = [(8, 8, 16, 16), (172, 120, 20, 12)]
    answer = await predict(segmenting, picture(200, 150, *objects), tiling=Tiling(size=64))
    found = np.zeros((150, 200), dtype=int)
    for shape in answer.shapes:
        found += array(shape)
    expected = np.zeros((150, 200), dtype=int)
    for x, y, width, height in objects:
        expected[y : y + height, x : x + width] = 1
    assert len(answer.shapes) == 2
    assert abs(found - expected).sum() < 0.15 * expected.sum()


async def test_tiles_cover_the_region_only(detecting: Service) -> None:
    image = picture(300, 300, (110, 110, 10, 10), (210, 210, 10, 10), (20, 20, 10, 10))
    answer = await predict(detecting, image, (100, 100, 150, 150), Tiling(overlap=0.3))
    assert sorted(map(corners, answer.shapes)) == [
        pytest.approx((110, 110, 10, 10), abs=0.01),
        pytest.approx((210, 210, 10, 10), abs=0.01),
    ]


async def test_the_best_of_all_tiles_are_returned(detecting: Service) -> None:
    image = picture(200, 64, (5, 5, 10, 10), (80, 5, 10, 10), (180, 5, 10, 10))
    assert len((await predict(detecting, image, tiling=Tiling(), max_shapes=2)).shapes) == 2
    assert len((await predict(detecting, image, tiling=Tiling())).shapes) == 3
    assert len((await predict(detecting, image, tiling=Tiling(), threshold=0.9)).shapes) == 0


async def test_too_many_tiles_are_refused_with_a_size_that_works(detecting: Service) -> None:
    image = picture(1100, 1100)
    error = await refusal(detecting, image, tiling=Tiling(size=32, overlap=0.5))
    assert fields_of(error) == ["tiling"]
    assert reason_of(error) == "TOO_MANY_TILES"
    assert "take 4624 tiles of 32 x 32, at most 512 are looked at; use tiles of 96 or more" in (error.details() or "")


async def test_a_classifier_refuses_tiles(classifying: Service) -> None:
    error = await refusal(classifying, picture(200, 200), tiling=Tiling())
    assert fields_of(error) == ["tiling"]
    assert "classifies" in (error.details() or "")


async def test_a_budget_that_is_given_back_early_lets_the_next_one_in() -> None:
    budget = Budget(10)
    async with asyncio.timeout(20), budget.hold(10) as held:
        held.keep(4)
        held.keep(8)
        async with budget.hold(6):
            pass
    async with asyncio.timeout(20), budget.hold(10):
        pass


async def test_tiles_hold_their_image_and_its_prototypes(segmenting: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = segmenting.app._predictions._predictor
    budget, runner = predictor._decoding, segmenting.app._runtime.runner
    held = []

    def seen(name: str, together: int) -> Run:
        run = runner(name, together)
        assert run is not None

        def watched(images: NDArray[np.uint8]) -> Tensors:
            held.append(budget._held)
            return run(images)

        return watched

    monkeypatch.setattr(segmenting.app._runtime, "runner", seen)
    await predict(segmenting, picture(100, 64), tiling=Tiling())
    assert held == [100 * 64 * 3 + 2 * 8 * SIDE * SIDE] * 2
    await predict(segmenting, picture(64, 64), tiling=Tiling())
    assert (held[-1], budget._held) == (predictor._room, 0)
