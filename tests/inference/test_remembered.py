"""Versions that predictions name are read once, and are never older than the last write."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from bloomery.inference.v1 import DeleteModelVersionRequest, Model, UpdateModelRequest
from bloomery_inference.model import ModelVersion
from bloomery_inference.registry import Registry
from bloomery_inference.remembered import Remembered
from bloomery_kit.errors import NotFound
from tests.inference.asking import V1, recorded
from tests.inference.conftest import Service
from tests.inference.samples import trained

LATEST = f"{V1[:-1]}latest"


@pytest.fixture
async def versions(service: Service) -> Remembered[ModelVersion]:
    """Versions of a service whose loops write nothing any more, with one version recorded."""
    service.trainer.feed.append(trained(1))
    await recorded(service)
    await service.app.loops.close()
    db = service.app._db
    registry = Registry(db, releasing=None, changed=None)  # type: ignore[arg-type]
    return Remembered(db, registry.get_version)


async def test_a_version_is_read_once_where_nobody_else_writes(
    service: Service, versions: Remembered[ModelVersion]
) -> None:
    first = await versions.get(V1)
    again = await versions.get(V1)
    assert again == first
    assert (again is first) is service.app._db.is_sqlite


async def test_any_write_makes_it_be_read_again(service: Service, versions: Remembered[ModelVersion]) -> None:
    first = await versions.get(V1)
    change = Model(name=V1.rpartition("/versions")[0], display_name="Pets")
    await service.models.UpdateModel(UpdateModelRequest(model=change, update_mask=FieldMask(paths=["display_name"])))
    assert await versions.get(V1) is not first


@pytest.mark.parametrize("name", [V1, LATEST])
async def test_a_version_that_was_deleted_is_not_found(
    service: Service, versions: Remembered[ModelVersion], name: str
) -> None:
    await versions.get(name)
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    with pytest.raises(NotFound):
        await versions.get(name)
