"""Models and versions: listed, and changed by people."""

import asyncio
from datetime import UTC, datetime

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask

from bloomery.inference.v1 import (
    DeleteModelVariantRequest,
    DeleteModelVersionRequest,
    FindModelVersionRequest,
    GetModelRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
    Model,
    UpdateModelRequest,
)
from bloomery_inference.store.tables import VERSIONS
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import PETS, V1, fields_of, recorded
from tests.inference.conftest import Service
from tests.inference.samples import trained


async def test_versions_and_models_page_without_loss(service: Service) -> None:
    service.trainer.feed += [trained(n, model=f"pets-{n % 3}") for n in range(1, 8)]
    await recorded(service, "projects/pets/models/pets-1/versions/3")
    names, token = [], ""
    while True:
        request = ListModelVersionsRequest(parent="projects/pets/models/-", page_size=3, page_token=token)
        page = await service.models.ListModelVersions(request)
        names += [version.name for version in page.model_versions]
        token = page.next_page_token
        if not token:
            break
    assert len(names) == len(set(names)) == 7
    models = await service.models.ListModels(ListModelsRequest(parent="projects/-"))
    assert [(model.name[-6:], model.latest_version) for model in models.models] == [
        ("pets-0", 2),
        ("pets-1", 3),
        ("pets-2", 2),
    ]
    assert models.total_size == 3


async def test_versions_are_listed_as_they_were_recorded_whatever_the_clock_said(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    async with service.app._db.write() as tx:
        await tx.execute(sa.update(VERSIONS).values(create_time=datetime(2099, 1, 1, tzinfo=UTC)))
    service.trainer.feed.append(trained(2))
    await recorded(service, f"{V1[:-1]}2")
    listed = await service.models.ListModelVersions(ListModelVersionsRequest(parent="projects/-/models/-"))
    assert [version.version for version in listed.model_versions] == [2, 1]


async def test_an_update_with_an_old_etag_is_refused_and_loses_nothing(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    name = "projects/pets/models/pets"
    read = await service.models.GetModel(GetModelRequest(name=name))
    changed = Model(name=name, display_name="Pets", etag=read.etag)
    assert (await service.models.UpdateModel(UpdateModelRequest(model=changed))).display_name == "Pets"
    late = Model(name=name, display_name="Cats", etag=read.etag)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.UpdateModel(UpdateModelRequest(model=late))
    assert refused.value.code() == grpc.StatusCode.ABORTED
    assert error_info(to_status(refused.value)).reason == "ETAG_MISMATCH"
    assert (await service.models.GetModel(GetModelRequest(name=name))).display_name == "Pets"


@pytest.mark.parametrize("with_etag", [True, False])
async def test_of_two_updates_at_once_none_is_lost_without_a_word(service: Service, with_etag: bool) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    etag = (await service.models.GetModel(GetModelRequest(name=PETS))).etag if with_etag else ""
    names = [f"Pets {number}" for number in range(8)]

    async def update(name: str) -> str:
        wanted = UpdateModelRequest(model=Model(name=PETS, display_name=name, etag=etag))
        return (await service.models.UpdateModel(wanted)).display_name

    answers = await asyncio.gather(*map(update, names), return_exceptions=True)
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert all(error_info(to_status(one)).reason == "ETAG_MISMATCH" for one in refused)
    assert len(refused) == (7 if with_etag else 0)
    assert all(answer == name for name, answer in zip(names, answers, strict=True) if answer not in refused)


async def test_an_update_names_every_text_that_it_writes_and_cannot_keep(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    labels = {"": "x", "team": "a\0b"}
    wanted = Model(name=PETS, display_name="x" * 300, labels=labels)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.UpdateModel(UpdateModelRequest(model=wanted))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert set(fields_of(refused.value)) == {"model.display_name", "model.labels", "model.labels['team']"}
    mask = FieldMask(paths=["labels"])
    wanted = Model(name=PETS, display_name="x" * 300, labels={"team": "cells"})
    labelled = await service.models.UpdateModel(UpdateModelRequest(model=wanted, update_mask=mask))
    assert (labelled.display_name, dict(labelled.labels)) == ("pets", {"team": "cells"})


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("job", FindModelVersionRequest(job="projects/pets/jobs/a\0b")),
        ("job", FindModelVersionRequest(job="pets")),
        ("job_uid", FindModelVersionRequest(job="projects/pets/jobs/j", job_uid="\0")),
    ],
)
async def test_a_job_whose_name_is_none_is_refused(
    service: Service, field: str, request_: FindModelVersionRequest
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.FindModelVersion(request_)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(refused.value) == [field]


async def test_a_filter_that_no_database_takes_is_refused(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.ListModels(ListModelsRequest(parent="projects/pets", filter="id:a\0b"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_repeated_deletion_cannot_mean_another_version(service: Service) -> None:
    service.trainer.feed += [trained(1), trained(2)]
    await recorded(service, f"{V1[:-1]}2")
    latest = f"{V1[:-1]}latest"
    with pytest.raises(grpc.aio.AioRpcError, match="number") as refused:
        await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=latest))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError, match="number") as refused:
        await service.models.DeleteModelVariant(DeleteModelVariantRequest(name=f"{latest}/variants/onnx-fp32"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    listed = await service.models.ListModelVersions(ListModelVersionsRequest(parent=PETS))
    assert [version.version for version in listed.model_versions] == [2, 1]
