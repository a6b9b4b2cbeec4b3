"""From data and from other models down to the versions that were made of them."""

import grpc
import pytest
import sqlalchemy as sa

from bloomery.inference.v1 import DeleteModelVersionRequest, ListModelVersionsRequest
from bloomery.training.v1 import FeedItem
from bloomery_inference import housekeeping
from bloomery_inference.store import models
from bloomery_inference.store.tables import VERSIONS
from tests.inference.asking import PETS, V1, fields_of, recorded
from tests.inference.conftest import Service
from tests.inference.samples import DATASET, imported, trained, with_facts
from tests.passes import turns

OTHER = "projects/pets/datasets/pets-v/versions/2"
V2 = f"{PETS}/versions/2"


def from_data(sequence: int, dataset_version: str, model: str) -> FeedItem:
    item = trained(sequence, model=model)
    item.job.dataset_version = dataset_version
    return item


async def of(service: Service, origin: str, parent: str = "projects/pets/models/-", **fields: object) -> list[str]:
    request = ListModelVersionsRequest(parent=parent, filter=origin, **fields)  # type: ignore[arg-type]
    names = []
    while True:
        page = await service.models.ListModelVersions(request)
        names += [version.name for version in page.model_versions]
        request.page_token = page.next_page_token
        if not request.page_token:
            return names


async def test_the_versions_that_were_made_from_data_are_found_over_all_models(service: Service) -> None:
    service.trainer.feed += [
        from_data(1, DATASET, "pets"),
        from_data(2, OTHER, "pets"),
        from_data(3, DATASET, "strays"),
        imported(4),
    ]
    await recorded(service, f"{PETS}/versions/3")
    stray = "projects/pets/models/strays/versions/1"
    assert await of(service, f"dataset_version:{DATASET}", page_size=1) == [stray, V1]
    assert await of(service, f"dataset_version:{OTHER}") == [V2]
    assert await of(service, f"dataset_version:{DATASET}", PETS) == [V1]
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    assert await of(service, f"dataset_version:{DATASET}") == [stray]


async def test_the_versions_that_were_trained_from_another_are_found(service: Service) -> None:
    service.trainer.feed += [trained(1), with_facts(trained(2), base=V1)]
    await recorded(service, V2)
    assert await of(service, f"base:{V1}") == [V2]
    assert await of(service, f"base:{V2}") == []


@pytest.mark.parametrize("origin", ["x", "base:", "base:pets@1", f"base:{PETS}/versions/latest", f"job:{DATASET}"])
async def test_another_origin_is_refused(service: Service, origin: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await of(service, origin)
    assert fields_of(refused.value) == ["filter"]


async def test_versions_that_a_replica_of_before_records_are_found_soon(service: Service) -> None:
    service.trainer.feed += [trained(1), with_facts(trained(2), base=V1)]
    await recorded(service, V2)
    await service.app.loops.close()
    async with service.app._db.write() as tx:
        await tx.execute(sa.update(VERSIONS).values(dataset_version="", base=""))
    assert await of(service, f"dataset_version:{DATASET}") == []
    await turns(service.app.loops, housekeeping.LOOP, 1)
    assert await of(service, f"dataset_version:{DATASET}") == [V2, V1]
    assert await of(service, f"base:{V1}") == [V2]
    async with service.app._db.read() as tx:
        assert not await models.lacks_origins(tx)
