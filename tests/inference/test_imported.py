"""Versions that came as ONNX files: their variant is the model itself."""

from pathlib import Path

import grpc
import pytest

from bloomery.inference.v1 import (
    DeleteModelVariantRequest,
    DeleteModelVersionRequest,
    OptimizeModelVersionRequest,
)
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import ONNX, V1, recorded
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import imported, with_facts, with_variant


async def brought(service: Service, folder: Path) -> str:
    """Records one, and returns the digest of its ONNX file."""
    item = with_facts(imported(1))
    del item.result.artifacts[:]
    directory = write_model(folder / "model", one_box(8, 8, 4, 4, [0.9, 0.1]), side=32)
    service.trainer.feed.append(await with_variant(item, service.objects, directory))
    version = await recorded(service)
    assert not version.artifacts
    [variant] = version.variants
    return next(one.digest for one in variant.artifacts if one.file_name == "1/model.onnx")


async def test_other_forms_are_made_of_its_onnx_file(service: Service, tmp_path: Path) -> None:
    digest = await brought(service, tmp_path)
    await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="openvino"))
    [asked] = service.trainer.created
    assert (asked.job.base_artifact.digest, asked.job.base_artifact.role) == (digest, "variant/1/model.onnx")


async def test_the_variant_that_is_the_model_goes_only_with_its_version(service: Service, tmp_path: Path) -> None:
    await brought(service, tmp_path)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.DeleteModelVariant(DeleteModelVariantRequest(name=ONNX))
    assert error_info(to_status(refused.value)).reason == "VARIANT_IS_SOURCE"
    assert len((await recorded(service)).variants) == 1
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
