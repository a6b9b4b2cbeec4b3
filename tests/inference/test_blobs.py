"""Predicting on blobs of the project: by digest or by signed URL, and by nothing else."""

import hashlib
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from bloomery.inference.v1 import PredictRequest
from tests import databases
from tests.inference.asking import V1, fields_of, recorded
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.neighbours import PROJECT_UID
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import white

DATABASES = databases.SQLITE

IMAGE = white(64, 32)
HASH = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture
async def keeping(service: Service, tmp_path: Path) -> Service:
    """The service with a model, and an image among the project's blobs and among another's."""
    directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.2, 0.8]), side=32)
    service.trainer.feed.append(await with_variant(with_facts(trained(1)), service.objects, directory))
    await recorded(service)
    for uid in (PROJECT_UID, "o" * 32):
        await service.objects.put(f"{uid}/{HASH}", IMAGE)
    return service


async def url_of(service: Service, key: str) -> str:
    return await service.objects.sign_get(key, expires=timedelta(seconds=1))


async def test_a_blob_is_named_by_its_digest_or_by_a_signed_url(keeping: Service) -> None:
    given = await keeping.predictions.Predict(PredictRequest(model_version=V1, image=IMAGE))
    signed = await url_of(keeping, f"{PROJECT_UID}/{HASH}")
    for blob in (f"sha256:{HASH}", signed, signed.partition("?")[0]):
        answer = await keeping.predictions.Predict(PredictRequest(model_version=V1, blob=blob))
        assert (answer.shapes, answer.width, answer.height) == (given.shapes, 64, 32)


@pytest.mark.parametrize(
    "blob",
    [
        "http://127.0.0.1:1/blobs/x",
        "http://127.0.0.1:2/blobs/" + f"{PROJECT_UID}/{HASH}",
        f"http://127.0.0.1:1/blobs/{'o' * 32}/{HASH}",
        f"http://127.0.0.1:1/blobs/{'o' * 32}/../{PROJECT_UID}/{HASH}",
        f"http://127.0.0.1:1/blobs/{PROJECT_UID}/{HASH}/config",
        f"file:///{PROJECT_UID}/{HASH}",
        f"{PROJECT_UID}/{HASH}",
        "sha256:abc",
        f"sha256:{HASH}/../../{'o' * 32}/{HASH}",
        f"SHA256:{HASH}",
        "http://[::1",
        "\0",
        "x" * 5000,
    ],
)
async def test_anything_else_is_refused_and_nothing_is_fetched(keeping: Service, blob: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keeping.predictions.Predict(PredictRequest(model_version=V1, blob=blob))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(refused.value) == ["blob"]


async def test_a_blob_that_is_not_there_is_told(keeping: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await keeping.predictions.Predict(PredictRequest(model_version=V1, blob=f"sha256:{'0' * 64}"))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_an_image_is_named_once(keeping: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="exactly one of image, asset and blob"):
        await keeping.predictions.Predict(PredictRequest(model_version=V1, image=IMAGE, blob=f"sha256:{HASH}"))
