"""What replicas report is taken down once, whatever comes twice, late or from a process that was replaced."""

import grpc
import pytest

from bloomery.inference.v1 import (
    GetServingPlanRequest,
    Replica,
    ReplicaModel,
    ReportReplicaRequest,
    ReportReplicaResponse,
    WatchServingPlanRequest,
)
from bloomery_inference.serving import model
from bloomery_inference.store import replicas
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import fields_of
from tests.inference.conftest import Service

UID = "a" * 32


async def report(
    service: Service, sequence: int, *models: ReplicaModel, incarnation: str = "first"
) -> ReportReplicaResponse:
    replica = Replica(
        id="r", incarnation=incarnation, runtime="triton", endpoint="t:1", sequence=sequence, models=models
    )
    return await service.serving.ReportReplica(ReportReplicaRequest(replica=replica))


async def known(service: Service, silence: float = 30) -> model.Replica:
    async with service.app._db.read() as tx:
        (replica,) = await replicas.of_runtime(tx, "triton", silence)
    return replica


def loading() -> ReplicaModel:
    return ReplicaModel(uid=UID, state=ReplicaModel.STATE_LOADING, load_ms=12)


async def test_there_is_an_empty_plan_before_anything_is_deployed(service: Service) -> None:
    plan = await service.serving.GetServingPlan(GetServingPlanRequest(replica_id="r", runtime="triton"))
    assert (plan.generation, list(plan.models)) == (0, [])
    async for first in service.serving.WatchServingPlan(
        WatchServingPlanRequest(replica_id="r", runtime="onnxruntime", after_generation=7)
    ):
        assert (first.generation, list(first.models)) == (0, [])
        break


async def test_a_report_is_taken_down_and_says_when_the_next_one_is_due(service: Service) -> None:
    answer = await report(service, 1, loading())
    assert (answer.generation, answer.next_report.ToTimedelta().total_seconds()) == (0, 10)
    replica = await known(service)
    assert (replica.endpoint, replica.live, replica.incarnation) == ("t:1", True, "first")
    assert replica.models == (model.LoadedModel(UID, model.LoadState.LOADING, load_ms=12),)


async def test_a_report_that_comes_late_or_again_changes_nothing(service: Service) -> None:
    await report(service, 2, loading())
    await report(service, 1)
    await report(service, 2)
    assert (await known(service)).has(UID, model.LoadState.LOADING)
    await report(service, 3)
    assert (await known(service)).models == ()


async def test_what_is_not_planned_is_taken_for_leaving_whatever_is_said_of_it(service: Service) -> None:
    await report(service, 1, ReplicaModel(uid=UID, state=ReplicaModel.STATE_READY))
    assert (await known(service)).has(UID, model.LoadState.UNLOADING)


async def test_a_replica_that_was_replaced_is_refused_and_changes_nothing(service: Service) -> None:
    await report(service, 5, loading())
    await report(service, 1, incarnation="second")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await report(service, 6, loading())
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(to_status(refused.value)).reason == "REPLICA_REPLACED"
    replica = await known(service)
    assert (replica.incarnation, replica.models) == ("second", ())


async def test_a_replica_that_says_nothing_for_long_is_not_live(service: Service) -> None:
    await report(service, 1)
    assert (await known(service)).live
    assert not (await known(service, silence=-1)).live


async def test_a_report_that_cannot_be_names_all_that_is_wrong(service: Service) -> None:
    wrong = Replica(
        runtime="abacus",
        observed_generation=-1,
        models=[ReplicaModel(uid="x", load_ms=float("nan")), loading(), loading()],
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.serving.ReportReplica(ReportReplicaRequest(replica=wrong))
    assert fields_of(refused.value) == [
        "replica.runtime",
        "replica.id",
        "replica.incarnation",
        "replica.observed_generation",
        "replica.models[0].uid",
        "replica.models[0].state",
        "replica.models[0].load_ms",
        "replica.models",
    ]
