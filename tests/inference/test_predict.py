"""Prediction through the service: geometry, choices, refusals."""

import asyncio
import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloomery.inference.v1 import ModelVariant, OptimizeModelVersionRequest, PredictRequest
from bloomery.training.v1 import ModelInput
from tests import databases
from tests.inference.asking import V1, recorded, variant_in
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import optimized, trained, with_facts, with_variant

DATABASES = databases.SQLITE

SIDE = 64


def white(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
async def predicting(service: Service, tmp_path: Path) -> Service:
    """The service with a model that sees one "dog" of 16 x 8 pixels in the middle of its 64 x 64 input."""
    service.trainer.feed.append(trained(1, side=SIDE))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    directory = write_model(tmp_path / "model", one_box(32, 32, 16, 8, [0.2, 0.8]), side=SIDE)
    service.trainer.feed.append(await optimized(2, variant.job, service.objects, directory))
    await variant_in(service, ModelVariant.STATE_READY)
    return service


async def test_shapes_come_in_pixels_of_the_original_image(predicting: Service) -> None:
    answer = await predicting.predictions.Predict(PredictRequest(model_version=V1, image=white(256, 128)))
    assert (answer.width, answer.height) == (256, 128)
    (shape,) = answer.shapes
    assert shape.label == "dog"
    assert shape.confidence == pytest.approx(0.8, abs=1e-3)
    box = shape.box
    assert (box.x, box.y, box.width, box.height) == pytest.approx((96, 48, 64, 32), abs=0.01)
    assert answer.variant.endswith("variants/onnx-fp32")
    assert 0 < answer.timings.inference_ms < answer.timings.total_ms


async def test_thresholds_and_classes_choose_what_is_returned(predicting: Service) -> None:
    async def labels(**choice: object) -> list[str]:
        request = PredictRequest(model_version=f"{V1[:-1]}latest", image=white(64, 64), **choice)  # type: ignore[arg-type]
        return [shape.label for shape in (await predicting.predictions.Predict(request)).shapes]

    assert await labels(threshold=0.9) == []
    assert await labels(threshold=0.0, classes=["dog"], max_shapes=1) == ["dog"]
    assert await labels(classes=["cat"]) == []


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({}, ["has no bytes"]),
        ({"image": b"x", "asset": "projects/pets/assets/abc"}, ["exactly one of image, asset and blob"]),
        ({"image": b"x", "threshold": 1.5, "iou_threshold": -1, "max_shapes": -1}, ["threshold", "iou", "max_shapes"]),
        ({"image": b"x", "masks": 99}, ["masks", "MASK_FORM_POLYGON"]),
        ({"image": b"not an image"}, ["image"]),
        ({"image": white(8, 8), "classes": ["bird", "fish"]}, ["bird, fish", "cat, dog"]),
        ({"asset": "projects/others/assets/abc"}, ["the model's project"]),
    ],
)
async def test_a_bad_request_names_every_problem(
    predicting: Service, fields: dict[str, object], problems: list[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predicting.predictions.Predict(PredictRequest(model_version=V1, **fields))  # type: ignore[arg-type]
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for problem in problems:
        assert problem in (refused.value.details() or "")


async def test_without_a_variant_the_refusal_says_how_to_make_one(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.predictions.Predict(PredictRequest(model_version=V1, image=white(8, 8)))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "bloomery optimize pets@1 --to onnx" in (refused.value.details() or "")


async def test_overload_is_refused_with_a_delay_and_what_was_accepted_is_answered(predicting: Service) -> None:
    request = PredictRequest(model_version=V1, image=white(2048, 2048))
    calls = [predicting.predictions.Predict(request) for _ in range(12)]
    codes = [await call.code() for call in calls]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    again = await predicting.predictions.Predict(request)
    assert len(again.shapes) == 1


async def test_a_damaged_file_is_never_served(predicting: Service) -> None:
    keys = [stat.key async for stat in predicting.objects.list("p/") if stat.key.endswith("model.onnx")]
    content = bytearray(await predicting.objects.get(keys[0]))
    content[len(content) // 2] ^= 1
    await predicting.objects.put(keys[0], bytes(content))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predicting.predictions.Predict(PredictRequest(model_version=V1, image=white(8, 8)))
    assert refused.value.code() == grpc.StatusCode.INTERNAL
    assert "digest" in (refused.value.details() or "")


async def test_a_file_that_was_damaged_on_our_disk_is_fetched_again(predicting: Service, tmp_path: Path) -> None:
    request = PredictRequest(model_version=V1, image=white(64, 64))
    answer = await predicting.predictions.Predict(request)
    (model,) = (tmp_path / "cache").rglob("model.onnx")
    model.write_bytes(model.read_bytes()[:40])
    await predicting.app._runtime.unload(model.parent.parent.name)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predicting.predictions.Predict(request)
    assert "cannot be loaded" in (refused.value.details() or "")
    assert (await predicting.predictions.Predict(request)).shapes == answer.shapes


async def test_a_variant_that_takes_another_size_than_its_version_says_is_broken(
    service: Service, tmp_path: Path
) -> None:
    directory = write_model(tmp_path / "model", one_box(32, 32, 16, 8, [0.2, 0.8]), side=SIDE)
    item = with_facts(trained(1), input=ModelInput(height=SIDE // 2, width=SIDE, resize="letterbox"))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    await recorded(service)
    with pytest.raises(grpc.aio.AioRpcError) as broken:
        await service.predictions.Predict(PredictRequest(model_version=V1, image=white(64, 64)))
    assert broken.value.code() == grpc.StatusCode.INTERNAL
    assert "what its version says it takes" in (broken.value.details() or "")


async def test_predictions_at_once_agree(predicting: Service) -> None:
    request = PredictRequest(model_version=V1, image=white(64, 64))
    answers = await asyncio.gather(*(predicting.predictions.Predict(request) for _ in range(2)))
    assert answers[0].shapes == answers[1].shapes


async def test_a_fresh_training_predicts_with_the_variant_that_it_made(service: Service, tmp_path: Path) -> None:
    directory = write_model(tmp_path / "model", one_box(32, 32, 16, 8, [0.2, 0.8]), side=SIDE)
    item = with_facts(trained(1), input=ModelInput(height=SIDE, width=SIDE, resize="letterbox"))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    version = await recorded(service)
    assert [variant.state for variant in version.variants] == [ModelVariant.STATE_READY]
    assert version.variants[0].parity.passed
    assert [artifact.role for artifact in version.artifacts] == ["checkpoint"]
    answer = await service.predictions.Predict(PredictRequest(model_version=V1, image=white(64, 64)))
    assert [shape.label for shape in answer.shapes] == ["dog"]


async def test_a_place_answers_for_its_best_class_unless_all_are_asked_for(predicting: Service) -> None:
    request = PredictRequest(model_version=V1, image=white(64, 64), threshold=0.1)
    assert [shape.label for shape in (await predicting.predictions.Predict(request)).shapes] == ["dog"]
    request.multi_label = True
    assert [shape.label for shape in (await predicting.predictions.Predict(request)).shapes] == ["dog", "cat"]


async def test_a_head_without_suppression_is_read_by_its_decoder(service: Service, tmp_path: Path) -> None:
    rows = np.array([[24, 28, 40, 36, 0.9, 1]], dtype=np.float32)
    directory = write_model(tmp_path / "model", rows, side=SIDE)
    size = ModelInput(height=SIDE, width=SIDE, resize="letterbox")
    item = with_facts(trained(1), decoder="yolo-end-to-end", input=size)
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    await recorded(service)
    answer = await service.predictions.Predict(PredictRequest(model_version=V1, image=white(128, 128)))
    (shape,) = answer.shapes
    assert shape.label == "dog"
    assert (shape.box.x, shape.box.width) == pytest.approx((48, 32))


@pytest.mark.parametrize(
    ("answer", "decoder", "why"),
    [
        (np.full((6, 2), np.nan), "yolo", "answers with NaN"),
        (np.ones((9, 2)), "yolo", "a model of 2 classes gives 6 numbers"),
        (np.ones((6, 2)), "detr", "known are probabilities, yolo, yolo-end-to-end"),
    ],
)
async def test_a_broken_model_is_not_a_blind_one(
    service: Service, tmp_path: Path, answer: NDArray[np.float64], decoder: str, why: str
) -> None:
    directory = write_model(tmp_path / "model", answer.astype(np.float32), side=SIDE)
    item = with_facts(trained(1), decoder=decoder, input=ModelInput(height=SIDE, width=SIDE, resize="letterbox"))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    await recorded(service)
    with pytest.raises(grpc.aio.AioRpcError) as broken:
        await service.predictions.Predict(PredictRequest(model_version=V1, image=white(64, 64)))
    assert broken.value.code() == grpc.StatusCode.INTERNAL
    assert why in (broken.value.details() or "")


@pytest.mark.parametrize("content", [b"", b"GIF89a"])
async def test_what_is_wrong_with_a_file_and_what_to_do_are_two_sentences(predicting: Service, content: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predicting.predictions.Predict(PredictRequest(model_version=V1, image=content))
    assert "; " in (refused.value.details() or "")
