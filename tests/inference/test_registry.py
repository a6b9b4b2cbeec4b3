"""Models and versions: listed, and changed by people."""

from datetime import UTC, datetime

import grpc
import pytest
import sqlalchemy as sa

from bloomery.inference.v1 import (
    GetModelRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
    Model,
    UpdateModelRequest,
)
from bloomery_inference.store.tables import VERSIONS
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import V1, recorded
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
