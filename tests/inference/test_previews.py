"""What goes with a model or a version is told before it goes."""

from pathlib import Path

import grpc
import pytest

from bloomery.common.v1 import Artifact
from bloomery.inference.v1 import (
    DeleteModelVersionRequest,
    GetModelCardRequest,
    GetModelVersionRequest,
    ModelDeletion,
    PreviewModelDeletionRequest,
    SetModelAliasRequest,
)
from bloomery.training.v1 import Job
from tests.inference.asking import BOX, ONNX, PETS, V1, recorded, until
from tests.inference.conftest import Service
from tests.inference.models import write_model
from tests.inference.samples import evaluated, trained, with_variant

V2 = f"{PETS}/versions/2"
CHAMPION = f"{PETS}/aliases/champion"


async def preview(service: Service, name: str) -> ModelDeletion:
    return await service.models.PreviewModelDeletion(PreviewModelDeletionRequest(name=name))


async def filled(service: Service, folder: Path) -> None:
    first = await with_variant(trained(1), service.objects, write_model(folder / "model", BOX, side=32))
    service.trainer.feed += [first, trained(2), evaluated(3, {"test/map50": 0.5})]
    await recorded(service, V2)
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    request = GetModelCardRequest(name=V1)
    await until(lambda: service.models.GetModelCard(request), lambda card: len(card.evaluations) == 1)


async def test_a_version_goes_with_its_variants_and_figures(service: Service, tmp_path: Path) -> None:
    await filled(service, tmp_path)
    found = await preview(service, V1)
    assert (list(found.model_versions), list(found.model_variants)) == ([V1], [ONNX])
    assert (list(found.model_aliases), found.evaluation_count, found.file_count) == ([CHAMPION], 1, 3)
    files = (tmp_path / "model").rglob("*")
    assert found.total_bytes == sum(file.stat().st_size for file in files if file.is_file())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert await preview(service, V1) == found


async def test_a_model_goes_with_all_its_versions(service: Service, tmp_path: Path) -> None:
    await filled(service, tmp_path)
    found = await preview(service, PETS)
    assert (list(found.model_versions), list(found.model_variants)) == ([V1, V2], [ONNX])
    assert (list(found.model_aliases), found.evaluation_count, found.file_count) == ([CHAMPION], 1, 4)


async def test_what_is_gone_or_means_another_one_later_is_not_previewed(service: Service, tmp_path: Path) -> None:
    await filled(service, tmp_path)
    for name in (f"{PETS}/versions/9", "projects/pets/models/others"):
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await preview(service, name)
        assert missing.value.code() == grpc.StatusCode.NOT_FOUND
    for name in (f"{PETS}/versions/latest", f"{PETS}/versions/champion"):
        with pytest.raises(grpc.aio.AioRpcError, match="number") as refused:
            await preview(service, name)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_jobs_that_still_work_on_its_files_are_named(service: Service, tmp_path: Path) -> None:
    await filled(service, tmp_path)
    read = await service.models.GetModelVersion(GetModelVersionRequest(name=V1))
    jobs = {"a": "p/other.pt", "b": read.artifacts[0].logical_key, "c": "", "d": read.artifacts[0].logical_key}
    for job, key in jobs.items():
        name = f"projects/pets/jobs/{job}"
        service.trainer.jobs[name] = Job(name=name, base_artifact=Artifact(logical_key=key))
    config = read.variants[0].artifacts[0]
    forms = {"e": config.logical_key, "f": "p/config.pbtxt"}
    for job, key in forms.items():
        name = f"projects/pets/jobs/{job}"
        service.trainer.jobs[name] = Job(name=name, variant_artifacts=[Artifact(logical_key=key)])
    found = await preview(service, V1)
    assert list(found.active_jobs) == [f"projects/pets/jobs/{job}" for job in "bde"]
    assert list((await preview(service, V2)).active_jobs) == []
