"""The service with a real Triton behind it, chosen by its settings."""

from pathlib import Path

import pytest

from bloomery.inference.v1 import PredictRequest
from bloomery.training.v1 import ModelInput
from bloomery_inference.settings import RuntimeSettings, TritonSettings
from real_parts.triton import TritonServer
from tests import databases
from tests.inference.asking import V1, recorded
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import SIDE, white

DATABASES = databases.SQLITE


@pytest.fixture
def runtime_settings(triton: TritonServer) -> RuntimeSettings:
    return TritonSettings(target=triton.grpc_url, repository=triton.repository)


async def test_the_service_predicts_through_the_triton_of_its_settings(
    service: Service, triton: TritonServer, tmp_path: Path
) -> None:
    directory = write_model(tmp_path / "model", one_box(32, 32, 16, 8, [0.2, 0.8]), side=SIDE)
    item = with_facts(trained(1), input=ModelInput(height=SIDE, width=SIDE, resize="letterbox"))
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    version = await recorded(service)
    request = PredictRequest(model_version=V1, image=white(64, 64))
    first = await service.predictions.Predict(request)
    uid = version.variants[0].uid
    assert [shape.label for shape in first.shapes] == ["dog"]
    assert uid in await service.app._runtime.loaded()
    # As after a restart of Triton: it has forgotten everything.
    await service.app._runtime.unload(uid)
    assert (await service.predictions.Predict(request)).shapes == first.shapes
