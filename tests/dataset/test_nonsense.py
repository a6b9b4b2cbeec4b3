"""Requests that nobody means: each gets an answer or a reason, never an internal error."""

import grpc
import pytest

from bloomery.dataset.v1 import dataset_service_pb2
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.auth import service_token
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import TOKEN, Service, box
from tests.questions import questions_about

SERVICE = dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def settings(both_settings: DatasetSettings) -> DatasetSettings:
    return both_settings


async def test_random_requests_never_cause_an_internal_error(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.host.port}") as channel:
        asking = questions_about(channel, service_token(TOKEN), SERVICE, seed=5)
        for _ in range(6):
            asking.memory.take_in(await service.build())
            await asking.look_around()
            await asking.play(100)
    assert asking.asked.problems == []
    assert asking.asked.of(SERVICE.full_name)["OK"] > 60
