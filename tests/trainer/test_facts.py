"""A result that its readers could not use fails the job, and says which field is wrong."""

import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from google.protobuf import json_format

from bloomery.training.v1 import (
    AttemptSuccess,
    ListJobResultsRequest,
    ModelFacts,
    ModelInput,
    VariantFacts,
    VariantLatency,
    VariantParity,
)
from bloomery.vision.v1 import TASK_TYPE_CLASSIFY
from tests.trainer.bench import AS_SERVICE
from tests.trainer.hand import Hand
from tests.trainer.moves import leave_manifest, state
from tests.trainer.test_holding import works_on_weights

Spoil = Callable[[AttemptSuccess], Any]


def variant(**fields: Any) -> VariantFacts:
    values = {"id": "onnx-fp32", "format": "onnx", "precision": "fp32", "device": "cpu", "role_prefix": "variant/"}
    return VariantFacts(**values | fields)


SPOILED: dict[str, Spoil] = {
    "model": lambda made: made.ClearField("model"),
    "model.task": lambda made: setattr(made.model, "task", TASK_TYPE_CLASSIFY),
    "model.classes": lambda made: made.model.classes.append(made.model.classes[0]),
    "model.input": lambda made: made.model.input.CopyFrom(ModelInput(width=64, resize="letterbox")),
    "model.input.resize": lambda made: setattr(made.model.input, "resize", "stretch"),
    "model.decoder": lambda made: setattr(made.model, "decoder", "no-such-decoder"),
    "model.license": lambda made: made.model.ClearField("license"),
    "model.base": lambda made: setattr(made.model, "base", "x" * 1025),
    "model.base_digest": lambda made: setattr(made.model, "base_digest", "md5:0"),
    "artifacts": lambda made: made.ClearField("artifacts"),
    "variants[0].id": lambda made: made.variants.append(variant(id="")),
    "variants[0].role_prefix": lambda made: made.variants.append(variant()),
    "variants[0].parity": lambda made: made.variants.append(
        variant(failure="other boxes", parity=VariantParity(max_score_error=math.nan))
    ),
    "variants[0].latency": lambda made: made.variants.append(
        variant(failure="too slow", latency=VariantLatency(p50_ms=-1))
    ),
    "variants": lambda made: made.variants.extend([variant(failure="none"), variant(failure="again")]),
}


@pytest.mark.parametrize(("field", "spoil"), SPOILED.items(), ids=SPOILED)
async def test_a_result_with_a_part_missing_fails_the_job_and_names_it(hand: Hand, field: str, spoil: Spoil) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    spoil(made)
    ends = [await worker.finish(success=made) for _ in range(2)]
    failed = await hand.trainer.get(job.name)
    assert ends == [failed.state] * 2
    assert (await state(hand, job), failed.reason.code) == ("FAILED", "RESULT_INVALID")
    assert f"cannot be used: {field}: " in failed.reason.message
    assert not (await hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)).results


@pytest.mark.parametrize(
    ("spoiled", "problem"),
    [
        ({"decoder": ""}, "model.decoder: is required"),
        ({"decoder": "probabilities"}, "model.decoder: must be one of yolo, yolo-end-to-end"),
        (
            {"input": ModelInput(height=64, width=64, resize="center-crop")},
            "model.input.resize: must be one of letterbox",
        ),
    ],
)
async def test_a_model_whose_outputs_prediction_could_not_read_fails_the_job(
    hand: Hand, spoiled: dict[str, Any], problem: str
) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    made.model.MergeFrom(ModelFacts(**spoiled))
    if spoiled == {"decoder": ""}:
        made.model.ClearField("decoder")
    await worker.finish(success=made)
    failed = await hand.trainer.get(job.name)
    assert (await state(hand, job), failed.reason.code) == ("FAILED", "RESULT_INVALID")
    assert problem in failed.reason.message


@pytest.mark.parametrize(
    ("worker_version", "ends"),
    [("99.0.1", "SUCCEEDED"), (version("bloomery-trainer"), "FAILED"), ("0.0.1", "FAILED"), ("new", "FAILED")],
)
async def test_only_a_newer_worker_says_names_that_are_unknown_here(hand: Hand, worker_version: str, ends: str) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    made.model.decoder = made.model.input.resize = "of-next-year"
    made.versions["bloomery-worker"] = worker_version
    await worker.finish(success=made)
    assert await state(hand, job) == ends


async def test_all_that_is_wrong_is_said_at_once(hand: Hand) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    for field in ("model.classes", "model.decoder"):
        SPOILED[field](made)
    await worker.finish(success=made)
    message = (await hand.trainer.get(job.name)).reason.message
    assert "model.classes" in message
    assert "model.decoder" in message


async def test_facts_reach_the_readers_of_results_as_they_were_given(hand: Hand) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    made.artifacts.append(await worker.upload(hand.core, "variant/1/model.onnx", b"onnx"))
    parity = VariantParity(image_count=3, max_score_error=0.5, passed=True, limits="1 px")
    made.variants.append(variant(parity=parity, latency=VariantLatency(p50_ms=1.5)))
    made.model.seed = 2**53 + 1
    await worker.finish(success=made)
    result = (await hand.trainer.get(job.name)).result
    assert (result.model, list(result.variants)) == (made.model, list(made.variants))
    feed = await hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)
    assert feed.results[0].result.model == made.model


@pytest.mark.parametrize(
    ("facts", "ends"),
    [({}, "SUCCEEDED"), ({"failure": "other answers"}, "FAILED"), ({"precision": "int8"}, "FAILED")],
)
async def test_an_onnx_model_stands_in_the_place_of_a_checkpoint(hand: Hand, facts: dict[str, Any], ends: str) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    del made.artifacts[:]
    made.artifacts.append(await worker.upload(hand.core, "variant/1/model.onnx", b"onnx"))
    made.variants.append(variant(**facts))
    await worker.finish(success=made)
    assert await state(hand, job) == ends


async def test_details_may_be_any_json(hand: Hand) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    given: dict[str, Any] = {"a": [1, {"b": None}], "c": "text", "d": True, "e": -1.5}
    made.details.update(given)
    await worker.finish(success=made)
    assert json_format.MessageToDict((await hand.trainer.get(job.name)).result.details) == given


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_details_with_numbers_that_are_none_fail_the_job_and_say_where(hand: Hand, number: float) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    made.details.update({"curve": [1, {"loss": number}], "best": number})
    await worker.finish(success=made)
    failed = await hand.trainer.get(job.name)
    assert (await state(hand, job), failed.reason.code) == ("FAILED", "RESULT_INVALID")
    assert "details.best" in failed.reason.message
    assert "details.curve[1].loss" in failed.reason.message


@pytest.mark.parametrize("count", [0, 2])
async def test_an_optimization_makes_one_variant(hand: Hand, count: int) -> None:
    job = await works_on_weights(hand)
    await hand.settle(1)
    worker = await hand.worker()
    made = AttemptSuccess(variants=[variant(id=str(number), failure="no") for number in range(count)])
    await worker.finish(success=made)
    assert "variants: one is required" in (await hand.trainer.get(job.name)).reason.message


async def test_an_adopted_result_is_looked_at_as_any_other(hand: Hand) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    SPOILED["model.classes"](made)
    await leave_manifest(hand, worker, made)
    hand.launcher.ends(0)
    await hand.settle(2)
    failed = await hand.trainer.get(job.name)
    assert (await state(hand, job), failed.reason.code) == ("FAILED", "RESULT_INVALID")
