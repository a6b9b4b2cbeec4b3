"""PostgreSQL and MinIO go away for a while and come back; a real training and its watcher go through it."""

from collections import Counter

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from bloomery import Job
from tests.faults.faults import Blow, Fault, Target
from tests.faults.processes import eventually
from tests.faults.rounds import play
from tests.faults.sites import Replicas

pytestmark = [pytest.mark.real_training, pytest.mark.real_server("minio"), pytest.mark.timeout(600)]
AWAY = (grpc.StatusCode.UNAVAILABLE, HealthCheckResponse.NOT_SERVING)
BACK = (grpc.StatusCode.OK, HealthCheckResponse.SERVING)


def test_a_database_that_fails_over_is_told_and_loses_nothing(replicas: Replicas) -> None:
    hit: list[Job] = []

    def is_told(job: Job) -> None:
        hit.append(job)
        seen = eventually(lambda: replicas.answer(job), lambda answer: answer == AWAY, seconds=30)
        assert seen == AWAY

    before = [server.pid for server in replicas.servers]
    fault = Fault(Target.DATABASE, Blow.KILL, fraction=0.3, delay=0.0, absence=5.0)
    outcome = play(replicas, fault, "failover", meanwhile=is_told)
    assert outcome.struck, outcome
    assert not outcome.problems, outcome
    assert eventually(lambda: replicas.answer(hit[0]), lambda answer: answer == BACK, seconds=30) == BACK
    assert [server.pid for server in replicas.servers] == before


@pytest.mark.parametrize(
    ("fraction", "blow"),
    [
        pytest.param(0.1, Blow.REFUSE, id="checkpoints-503"),
        pytest.param(1.1, Blow.KILL, id="publishing-away"),
    ],
)
def test_an_object_store_that_is_away_for_a_while_costs_nothing(
    fraction: float, blow: Blow, replicas: Replicas
) -> None:
    fault = Fault(Target.STORE, blow, fraction=fraction, delay=0.0, absence=5.0)

    def refuses(_: Job) -> None:
        if blow is Blow.REFUSE:
            eventually(lambda: replicas.refused, lambda asked: "PUT" in asked, seconds=120)

    outcome = play(replicas, fault, f"store-{round(fraction * 10)}", meanwhile=refuses)
    print(f"{outcome}; refused: {Counter(replicas.refused)}")
    assert outcome.struck, outcome
    assert not outcome.problems, outcome
    assert blow is not Blow.REFUSE or "PUT" in replicas.refused
    assert replicas.damaged() == []
