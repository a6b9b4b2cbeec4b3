"""Predictions of a deployment: which version answers, on which replica, and what happens where none can."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.inference.v1 import (
    Deployment,
    PauseDeploymentRequest,
    PredictRequest,
    PredictResponse,
    RollBackDeploymentRequest,
)
from bloomery_inference.serving.model import LoadedModel, LoadState, Replica
from bloomery_inference.serving.routing import able, takes
from tests import databases
from tests.inference.asking import fields_of, until
from tests.inference.conftest import Service
from tests.inference.deploying import (
    FAILED,
    NAME,
    READY,
    V1,
    V2,
    Scripted,
    create,
    get,
    reason_of,
    state,
    update,
    versions,
)
from tests.inference.test_predict import white

DATABASES = databases.SQLITE

IMAGE = white(32, 32)


async def predict(service: Service, **fields: Any) -> PredictResponse:
    return await service.predictions.Predict(PredictRequest(deployment=NAME, image=IMAGE, **fields))


@pytest.fixture
async def deployed(service: Service, tmp_path: Path) -> Service:
    """A deployment that serves version 1 in this process."""
    await versions(service, tmp_path)
    await create(service, runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    return service


async def test_an_answer_says_who_gave_it(deployed: Service) -> None:
    answer = await predict(deployed)
    assert (answer.deployment, answer.model_version) == (NAME, V1)
    assert answer.replica == (await get(deployed)).replicas[0].id
    assert answer.variant == f"{V1}/variants/onnx-fp32"
    assert [shape.label for shape in answer.shapes] == ["dog"]


async def test_a_new_version_answers_once_it_serves_and_the_old_one_after_a_roll_back(deployed: Service) -> None:
    await update(deployed, model_version=V2)
    await until(lambda: predict(deployed), lambda answer: answer.model_version == V2)
    assert [shape.label for shape in (await predict(deployed)).shapes] == ["cat"]
    await deployed.deployments.RollBackDeployment(RollBackDeploymentRequest(name=NAME))
    await until(lambda: predict(deployed), lambda answer: answer.model_version == V1)


async def test_a_candidate_answers_its_share_of_the_requests(deployed: Service) -> None:
    await update(deployed, model_version=V2, traffic_percent=20)
    await state(deployed, Deployment.STATE_READY)
    told = [(await predict(deployed)).model_version for _ in range(20)]
    assert told.count(V2) == 4


async def test_a_shadow_answers_nothing(deployed: Service) -> None:
    await update(deployed, model_version=V2, shadow=True)
    await state(deployed, Deployment.STATE_READY)
    assert {(await predict(deployed)).model_version for _ in range(10)} == {V1}


async def test_a_paused_deployment_refuses_and_says_how_to_go_on(deployed: Service) -> None:
    await deployed.deployments.PauseDeployment(PauseDeploymentRequest(name=NAME))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predict(deployed)
    assert (refused.value.code(), reason_of(refused.value)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "DEPLOYMENT_PAUSED",
    )
    assert "bloomery deploy resume door" in str(refused.value.details())


async def test_without_a_replica_the_refusal_says_what_each_of_them_said(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    uid = (await create(service)).candidate.uid
    replica = Scripted(service)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    replica.refused[uid] = "no room on the disk"
    await replica.report({uid: FAILED})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predict(service)
    assert (refused.value.code(), reason_of(refused.value)) == (grpc.StatusCode.UNAVAILABLE, "NO_REPLICA")
    assert "r1 FAILED: no room on the disk" in str(refused.value.details())
    assert (await state(service, Deployment.STATE_FAILED)).serving.uid == uid
    await replica.report({uid: READY})
    await state(service, Deployment.STATE_READY)


async def test_replicas_that_do_not_answer_are_named_with_what_they_met(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    await create(service)
    for name in ("r1", "r2", "r3"):
        await Scripted(service, id=name).follow()
    await state(service, Deployment.STATE_READY)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await predict(service)
    assert (refused.value.code(), reason_of(refused.value)) == (grpc.StatusCode.UNAVAILABLE, "REPLICA_UNAVAILABLE")
    assert str(refused.value.details()).count("the Triton server cannot be reached") == 2


async def test_bad_requests_name_every_problem(deployed: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as both:
        await predict(deployed, model_version=V1, variant="onnx-fp32")
    assert fields_of(both.value) == ["model_version", "variant"]
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await deployed.predictions.Predict(PredictRequest(deployment="door", image=IMAGE))
    assert fields_of(wrong.value) == ["deployment"]
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await deployed.predictions.Predict(PredictRequest(deployment=f"{NAME}-2", image=IMAGE))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND


@given(st.integers(0, 100), st.integers(0, 10_000))
def test_of_any_hundred_requests_in_a_row_a_candidate_gets_its_share(percent: int, start: int) -> None:
    assert sum(takes(turn, percent) for turn in range(start + 1, start + 101)) == percent


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(LoadState)), max_size=6), st.integers(0, 100))
def test_only_those_that_have_it_are_asked_and_the_silent_ones_last(
    known: list[tuple[bool, LoadState]], turn: int
) -> None:
    uid = "a" * 32
    replicas = [
        Replica(str(i), "x", "triton", "t:1", 1, (LoadedModel(uid, state),), 1, live)
        for i, (live, state) in enumerate(known)
    ]
    asked = able(replicas, uid, turn)
    assert {one.id for one in asked} == {one.id for one in replicas if one.has(uid, LoadState.READY)}
    assert [one.live for one in asked] == sorted((one.live for one in asked), reverse=True)
    firsts = {able(replicas, uid, i)[0].id for i in range(len(asked))} if asked else set()
    assert firsts == {one.id for one in asked if one.live == asked[0].live}
