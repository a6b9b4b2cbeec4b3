"""What people say of versions, and which of them are offered."""

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from bloomery.inference.v1 import (
    DeleteModelAliasRequest,
    DeleteModelVersionRequest,
    GetModelRequest,
    GetModelVersionRequest,
    ListModelVersionsRequest,
    ModelVersion,
    SetModelAliasRequest,
    UpdateModelVersionRequest,
)
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import PETS, V1, fields_of, recorded, subjects_of
from tests.inference.conftest import Service
from tests.inference.samples import trained

V2 = f"{PETS}/versions/2"
LATEST = f"{PETS}/versions/latest"
CHAMPION = f"{PETS}/aliases/champion"


@pytest.fixture
async def versions(service: Service) -> None:
    service.trainer.feed += [trained(1), trained(2)]
    await recorded(service, V2)


async def update(service: Service, name: str, *paths: str, **fields: object) -> ModelVersion:
    version = ModelVersion(name=name, **fields)  # type: ignore[arg-type]
    request = UpdateModelVersionRequest(model_version=version, update_mask=FieldMask(paths=paths))
    return await service.models.UpdateModelVersion(request)


async def offer(service: Service, name: str, state: ModelVersion.State.ValueType) -> ModelVersion:
    return await update(service, name, state=state)


async def get(service: Service, name: str) -> ModelVersion:
    return await service.models.GetModelVersion(GetModelVersionRequest(name=name))


async def listed(service: Service, **fields: bool) -> list[int]:
    request = ListModelVersionsRequest(parent=PETS, **fields)  # type: ignore[arg-type]
    return [version.version for version in (await service.models.ListModelVersions(request)).model_versions]


@pytest.mark.usefixtures("versions")
async def test_a_note_is_kept_and_may_be_emptied(service: Service) -> None:
    assert (await update(service, V1, note="misses\nplatelets")).note == "misses\nplatelets"
    assert (await get(service, V1)).note == "misses\nplatelets"
    assert (await update(service, V1, "note")).note == ""


@pytest.mark.usefixtures("versions")
async def test_of_two_who_edit_what_they_read_one_is_told(service: Service) -> None:
    etag = (await get(service, V1)).etag
    notes = ["first", "second", "third"]
    answers = await asyncio.gather(
        *(update(service, V1, note=note, etag=etag) for note in notes), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert [error_info(to_status(one)).reason for one in refused] == ["ETAG_MISMATCH"] * 2
    [kept] = [one for one in answers if isinstance(one, ModelVersion)]
    found = await get(service, V1)
    assert (found.note, found.etag) == (kept.note, kept.etag)
    assert (await update(service, V1, note=kept.note, etag=etag)).etag == kept.etag


@pytest.mark.usefixtures("versions")
async def test_what_is_not_active_is_not_offered_and_still_there(service: Service) -> None:
    assert (await get(service, V2)).state == ModelVersion.STATE_ACTIVE
    assert (await offer(service, V2, ModelVersion.STATE_INACTIVE)).state == ModelVersion.STATE_INACTIVE
    assert (await get(service, LATEST)).name == V1
    assert (await service.models.GetModel(GetModelRequest(name=PETS))).latest_version == 1
    assert (await listed(service), await listed(service, show_inactive=True)) == ([1], [2, 1])
    assert (await get(service, V2)).version == 2
    await offer(service, V2, ModelVersion.STATE_ACTIVE)
    assert (await get(service, LATEST)).name == V2


@pytest.mark.usefixtures("versions")
async def test_where_none_is_active_none_is_the_newest(service: Service) -> None:
    await offer(service, V1, ModelVersion.STATE_INACTIVE)
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V2))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await get(service, LATEST)
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND
    assert (await service.models.GetModel(GetModelRequest(name=PETS))).latest_version == 0


@pytest.mark.usefixtures("versions")
async def test_an_alias_names_only_what_is_active(service: Service) -> None:
    put = SetModelAliasRequest(name=CHAMPION, model_version=V1)
    await service.models.SetModelAlias(put)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await offer(service, V1, ModelVersion.STATE_INACTIVE)
    assert error_info(to_status(refused.value)).reason == "VERSION_HAS_ALIASES"
    assert subjects_of(refused.value) == [CHAMPION]
    await service.models.DeleteModelAlias(DeleteModelAliasRequest(name=CHAMPION))
    await offer(service, V1, ModelVersion.STATE_INACTIVE)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.SetModelAlias(put)
    assert error_info(to_status(refused.value)).reason == "VERSION_INACTIVE"


@pytest.mark.usefixtures("versions")
async def test_a_change_that_cannot_be_is_refused_with_all_that_is_wrong(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await update(service, V1, "note", "state", note="x" * 10_001)
    assert fields_of(refused.value) == ["model_version.note", "model_version.state"]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await update(service, LATEST, note="of which one?")
    assert fields_of(refused.value) == ["model_version.name"]
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await update(service, f"{PETS}/versions/9", note="x")
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND
