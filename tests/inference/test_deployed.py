"""What a deployment needs of the registry stays as long as it does, and is told to whoever asks."""

import logging
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from bloomery.inference.v1 import (
    DeleteDeploymentRequest,
    DeleteModelAliasRequest,
    DeleteModelRequest,
    DeleteModelVariantRequest,
    DeleteModelVersionRequest,
    Deployment,
    GetModelCardRequest,
    GetModelVersionRequest,
    ModelVersion,
    PreviewModelDeletionRequest,
    SetModelAliasRequest,
    UpdateModelVersionRequest,
)
from bloomery_inference.serving.losses import Losses
from tests.inference.asking import PETS, subjects_of, until
from tests.inference.conftest import Service
from tests.inference.deploying import NAME, V1, V2, V3, Scripted, create, reason_of, state, update, versions
from tests.passes import Work, fail_first


@pytest.fixture
async def rolled(service: Service, tmp_path: Path) -> Service:
    """A deployment that serves version 2 and would roll back to version 1; version 3 is free."""
    await versions(service, tmp_path, 3)
    replica = Scripted(service)
    await create(service)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    await update(service, model_version=V2)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    return service


async def inactive(service: Service, version: str) -> ModelVersion:
    return await service.models.UpdateModelVersion(
        UpdateModelVersionRequest(
            model_version=ModelVersion(name=version, state=ModelVersion.STATE_INACTIVE),
            update_mask=FieldMask(paths=["state"]),
        )
    )


async def test_what_it_serves_or_would_roll_back_to_is_neither_deleted_nor_made_inactive(rolled: Service) -> None:
    models = rolled.models
    for version in (V1, V2):
        for call in (
            models.DeleteModelVersion(DeleteModelVersionRequest(name=version)),
            models.DeleteModelVariant(DeleteModelVariantRequest(name=f"{version}/variants/onnx-fp32")),
            inactive(rolled, version),
            models.DeleteModel(DeleteModelRequest(name=PETS)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert (reason_of(refused.value), subjects_of(refused.value)) == ("DEPLOYED", [NAME])
    await inactive(rolled, V3)
    await models.DeleteModelVersion(DeleteModelVersionRequest(name=V3))


async def test_what_forbids_a_deletion_and_who_uses_a_version_is_told(rolled: Service) -> None:
    for name, users in ((V1, [NAME]), (V3, []), (PETS, [NAME])):
        preview = await rolled.models.PreviewModelDeletion(PreviewModelDeletionRequest(name=name))
        assert list(preview.deployments) == users
    card = await rolled.models.GetModelCard(GetModelCardRequest(name=V2))
    assert list(card.deployments) == [NAME]


async def test_all_of_it_may_go_once_the_deployment_is_deleted(rolled: Service) -> None:
    await rolled.deployments.DeleteDeployment(DeleteDeploymentRequest(name=NAME))
    await rolled.models.DeleteModel(DeleteModelRequest(name=PETS))


async def test_an_alias_that_it_moves_is_not_removed(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    alias = f"{PETS}/aliases/champion"
    await service.models.SetModelAlias(SetModelAliasRequest(name=alias, model_version=V1))
    await create(service, f"{PETS}/versions/champion")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.DeleteModelAlias(DeleteModelAliasRequest(name=alias))
    assert reason_of(refused.value) == "ALIAS_DEPLOYED"


async def test_an_inactive_version_is_not_deployed(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 2)
    await inactive(service, V1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(service)
    assert reason_of(refused.value) == "VERSION_INACTIVE"
    await create(service, V2)
    with pytest.raises(grpc.aio.AioRpcError) as again:
        await update(service, model_version=V1)
    assert reason_of(again.value) == "VERSION_INACTIVE"


async def test_files_of_a_deployed_model_that_are_gone_are_an_alert(
    rolled: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "bloomery.alerts"]

    variant = (await rolled.models.GetModelVersion(GetModelVersionRequest(name=V2))).variants[0]
    lost = next(file for file in variant.artifacts if file.file_name.endswith(".onnx"))
    assert await told() == []
    await rolled.objects.delete(lost.logical_key)
    record, *_ = await until(told, bool)
    assert record.getMessage() == f"{variant.name} is deployed, and files of it are gone: {lost.file_name}"
    assert (vars(record)["event"], vars(record)["model_variant"]) == ("served_files_missing", variant.name)
    another = Losses(rolled.app._db, rolled.objects, "another")
    for _ in range(3):
        await another.look()
    assert len(await told()) == 2


async def test_files_that_cannot_be_looked_for_hide_no_others_that_are_gone(
    rolled: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await rolled.app.loops.close()
    await create(rolled, V3, name="projects/pets/deployments/window")
    for version in (V1, V2, V3):
        [variant] = (await rolled.models.GetModelVersion(GetModelVersionRequest(name=version))).variants
        for file in variant.artifacts:
            await rolled.objects.delete(file.logical_key)
    done = fail_first(monkeypatch, Work(Losses, "_gone", lambda _, variant: variant.uid))
    await Losses(rolled.app._db, rolled.objects, "another").look()
    told = [record for record in caplog.records if record.name == "bloomery.alerts"]
    assert len(told) == len(done) >= 1
