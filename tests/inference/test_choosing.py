"""Which variant answers a prediction."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from bloomery.inference.v1 import GetModelVersionRequest, ModelVariant, OptimizeModelVersionRequest, PredictRequest
from bloomery_inference.choosing import chosen_variant
from bloomery_inference.model import ModelVersion, Variant, VariantResult, VariantState
from bloomery_inference.ranking import fastest
from bloomery_inference.results import version_content
from bloomery_kit.errors import FailedPrecondition, error_info, to_status
from bloomery_kit.times import utc_now
from tests import databases
from tests.inference.asking import V1, recorded, variant_in
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import optimized, struct, trained, with_facts
from tests.inference.test_predict import white

DATABASES = databases.SQLITE

SIDE = 64


def variant(id: str, p50_ms: float = 0, before: float = 0.9, after: float = 0.9) -> Variant:
    latency = {"p50_ms": p50_ms} if p50_ms else {}
    parity = {"original_metric": before, "variant_metric": after}
    now = utc_now()
    kind, _, precision = id.partition("-")
    return Variant(
        uid=id,
        version_uid="v",
        project="pets",
        model="pets",
        number=1,
        id=id,
        format=kind,
        precision=precision,
        state=VariantState.READY,
        reason="",
        job="",
        result=VariantResult(parity=parity, latency=latency),
        create_time=now,
        update_time=now,
    )


FP32 = variant("onnx-fp32", 10.0)
INT8 = variant("onnx-int8", 6.0, after=0.895)


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        ([FP32, INT8], "onnx-int8"),
        ([FP32, variant("onnx-int8", 9.6, after=0.895)], "onnx-fp32"),
        ([FP32, variant("onnx-int8", 10.4, after=0.91)], "onnx-int8"),
        ([FP32, variant("onnx-int8", 10.6, after=0.95)], "onnx-fp32"),
        ([variant("onnx-fp32"), INT8], "onnx-int8"),
        ([variant("onnx-int8"), variant("onnx-fp32")], "onnx-fp32"),
    ],
    ids=["faster", "as fast and worse", "as fast and better", "slower", "not measured", "none measured"],
)
def test_the_fastest_answers_and_of_those_as_fast_the_more_accurate(ready: list[Variant], expected: str) -> None:
    assert fastest(ready).id == expected
    assert fastest(ready[::-1]).id == expected


def test_what_has_no_runtime_here_does_not_answer() -> None:
    content = replace(trained_version(), variants=(FP32, variant("openvino-fp32", 1.0)))
    assert chosen_variant(content, "", {"onnx"}).id == "onnx-fp32"
    assert chosen_variant(content, "", {"onnx", "openvino"}).id == "openvino-fp32"
    with pytest.raises(FailedPrecondition, match=r"openvino-fp32 has no runtime here\); take onnx-fp32"):
        chosen_variant(content, "openvino-fp32", {"onnx"})
    alone = replace(content, variants=content.variants[1:])
    with pytest.raises(FailedPrecondition, match="optimize pets@1 --to onnx`"):
        chosen_variant(alone, "openvino-fp32", {"onnx"})


def test_variants_from_before_metrics_were_told_are_compared_by_time() -> None:
    old = replace(FP32, result=VariantResult(latency={"p50_ms": 10.0}))
    assert fastest([old, INT8]).id == "onnx-int8"


def trained_version() -> ModelVersion:
    item = with_facts(trained(1))
    return ModelVersion(
        uid="v",
        project="pets",
        model="pets",
        number=1,
        content=version_content(item),
        ordinal=1,
        create_time=utc_now(),
        note="",
        active=True,
        revision=1,
    )


@pytest.fixture
async def two(service: Service, tmp_path: Path) -> Service:
    """The service with a model whose fp32 variant sees a "dog", and whose faster int8 one sees a "cat"."""
    service.trainer.feed.append(trained(1, side=SIDE))
    await recorded(service)
    seen = {"fp32": ([0.2, 0.8], 9.0), "int8": ([0.8, 0.2], 3.0)}
    for number, (precision, (scores, p50)) in enumerate(seen.items(), 2):
        asked = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, precision=precision))
        directory = write_model(tmp_path / precision, one_box(32, 32, 16, 8, scores), side=SIDE)
        item = await optimized(number, asked.job, service.objects, directory)
        item.result.details["latency"] = struct({"p50_ms": p50})
        service.trainer.feed.append(item)
        await variant_in(service, ModelVariant.STATE_READY, asked.name)
    return service


async def label(service: Service, variant: str = "") -> tuple[str, str]:
    request = PredictRequest(model_version=V1, image=white(64, 64), variant=variant)
    answer = await service.predictions.Predict(request)
    return answer.shapes[0].label, answer.variant.rpartition("/")[2]


async def test_a_prediction_comes_from_the_fastest_variant_or_from_the_named_one(two: Service) -> None:
    assert await label(two) == ("cat", "onnx-int8")
    assert await label(two, "onnx-fp32") == ("dog", "onnx-fp32")


async def test_a_version_says_which_of_its_ready_variants_are_the_fastest(two: Service) -> None:
    await two.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, precision="int8-dynamic"))
    version = await two.models.GetModelVersion(GetModelVersionRequest(name=V1))
    assert list(version.fastest_variants) == ["onnx-int8", "onnx-fp32"]


async def test_a_variant_that_there_is_not_names_those_that_there_are(two: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await label(two, "onnx-int4")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert "onnx-fp32, onnx-int8" in str(to_status(refused.value))


async def test_a_named_variant_that_is_not_ready_is_refused_though_another_is(two: Service) -> None:
    await two.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, precision="int8-dynamic"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await label(two, "onnx-int8-dynamic")
    assert error_info(to_status(refused.value)).reason == "NO_VARIANT"
    assert "onnx-int8-dynamic is PENDING" in (refused.value.details() or "")
