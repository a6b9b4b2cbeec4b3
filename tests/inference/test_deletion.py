"""What goes with a model, a version or a variant, and what is left of it."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.inference.v1 import (
    DeleteModelRequest,
    DeleteModelVersionRequest,
    GetModelRequest,
    GetModelVersionRequest,
    ListModelsRequest,
    ModelVariant,
    OptimizeModelVersionRequest,
)
from bloomery.training.v1 import JobServiceStub
from bloomery_inference.follower import FEED
from bloomery_inference.housekeeping import LOOP, Housekeeper
from bloomery_inference.releasing import Releasing
from bloomery_inference.store import models, results
from bloomery_inference.store.tables import CLEANUPS, MODELS
from bloomery_kit.times import utc_now
from tests.inference.asking import BOX, PETS, V1, gone, recorded, until, until_true, variant_in
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import optimized, trained, with_facts, with_variant


async def test_a_deleted_version_stays_away_and_frees_its_files_and_data(service: Service) -> None:
    item = trained(1)
    key = item.result.artifacts[0].logical_key
    await service.objects.put(key, b"weights")
    service.trainer.feed.append(item)
    await recorded(service)
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await gone(service, key)
    service.trainer.feed.append(trained(2))
    assert (await recorded(service, f"{V1[:-1]}2")).version == 2
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.GetModelVersion(GetModelVersionRequest(name=V1))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_deleted_model_goes_with_all_it_has_and_its_name_is_free(service: Service, tmp_path: Path) -> None:
    item = await with_variant(with_facts(trained(1)), service.objects, write_model(tmp_path / "m", BOX, side=32))
    keys = [artifact.logical_key for artifact in item.result.artifacts]
    service.trainer.feed += [item, trained(2), trained(3, model="other")]
    await recorded(service, "projects/pets/models/other/versions/1")
    optimize = OptimizeModelVersionRequest(name=f"{V1[:-1]}2", request_id="once")
    asked = await service.models.OptimizeModelVersion(optimize)
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND
    listed = await service.models.ListModels(ListModelsRequest(parent="projects/pets"))
    assert [model.name for model in listed.models] == ["projects/pets/models/other"]
    await until(lambda: asyncio.gather(*map(service.objects.stat, keys)), lambda found: not any(found))
    await until_true(lambda: len(service.datasets.held) <= 1)
    again = trained(4, job_uid=item.result.job_uid)
    service.trainer.feed += [again, trained(5), trained(6)]
    await recorded(service, f"{V1[:-1]}2")
    uids = {one.result.job_uid for one in service.trainer.feed[-2:]}
    assert {(await recorded(service, f"{V1[:-1]}{number}")).lineage.job_uid for number in (1, 2)} == uids
    assert (await service.models.OptimizeModelVersion(optimize)).uid != asked.uid


async def test_the_newest_version_of_a_model_is_one_that_is_there(service: Service) -> None:
    service.trainer.feed += [trained(1), trained(2)]
    await recorded(service, f"{V1[:-1]}2")
    for number, left in ((2, 1), (1, 0)):
        await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=f"{V1[:-1]}{number}"))
        assert (await service.models.GetModel(GetModelRequest(name=PETS))).latest_version == left
    service.trainer.feed.append(trained(3))
    assert (await recorded(service, f"{V1[:-1]}3")).version == 3


async def test_what_is_recorded_while_its_model_is_deleted_is_there_or_gone_with_it(service: Service) -> None:
    service.trainer.feed += [trained(number) for number in range(1, 30)]
    deletions = 0
    async with asyncio.timeout(20):
        while not await feed_is_read(service, 29):
            with suppress(grpc.aio.AioRpcError):
                await service.models.DeleteModel(DeleteModelRequest(name=PETS))
                deletions += 1
            await asyncio.sleep(0.01)
    assert deletions
    async with service.app._db.read() as tx:
        left = await models.list_versions(tx, project=None, model_id=None, before=None, limit=100)
        kept = (await tx.execute(sa.select(MODELS.c.latest_version))).all()
        assert await results.refusal(tx, "projects/pets/jobs/none", "") is None
    assert sorted(version.number for version in left) == list(range(1, len(left) + 1))
    assert [row.latest_version for row in kept] == ([len(left)] if kept else [])
    await until_true(lambda: len(service.datasets.held) == len(left))


async def test_what_a_replica_that_died_brought_for_a_version_that_is_gone_goes_after_a_while(service: Service) -> None:
    item = trained(1)
    key = item.result.artifacts[0].logical_key
    service.trainer.feed.append(item)
    await recorded(service)
    (held,), (project,) = service.datasets.held, service.projects.held
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    await gone(service, key)
    await housekeeper(service).tidy()
    service.datasets.held.add(held)
    service.projects.held.add(project)
    await service.objects.put(key, b"weights")
    await housekeeper(service).tidy()
    assert service.datasets.held, "all of it went at once, so this test shows nothing"
    await housekeeper(service, later=timedelta(hours=2)).tidy()
    assert (service.datasets.held, service.projects.held, await service.objects.stat(key)) == (set(), set(), None)
    async with service.app._db.read() as tx:
        assert await tx.scalar(sa.select(CLEANUPS.c.ordinal)) is None


def housekeeper(service: Service, *, later: timedelta = timedelta(0)) -> Housekeeper:
    """Another replica's, so much later."""
    (connection,) = service.app._channels.values()
    return Housekeeper(
        service.app._db,
        service.objects,
        jobs=JobServiceStub(connection),
        releasing=Releasing(DatasetServiceStub(connection), AnnotationServiceStub(connection)),
        annotations=AnnotationServiceStub(connection),
        clock=lambda: utc_now() + later,
    )


async def feed_is_read(service: Service, sequence: int) -> bool:
    async with service.app._db.read() as tx:
        return await results.feed_sequence(tx, FEED) == sequence


async def test_what_a_model_was_made_from_can_be_deleted_as_soon_as_the_model_is(service: Service) -> None:
    service.trainer.feed += [trained(1), trained(2)]
    await recorded(service, f"{V1[:-1]}2")
    await service.app.loops.close(LOOP)
    assert len(service.datasets.held) == 2
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    assert len(service.datasets.held) == 1
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    assert (service.datasets.held, service.projects.held) == (set(), set())
    async with service.app._db.read() as tx:
        left = await tx.scalar(sa.select(sa.func.count()).select_from(CLEANUPS))
    assert left == 3, "the loop does it again, whatever came between the commit and the answer"


async def test_a_version_deleted_while_a_neighbour_is_away_leaves_nothing_in_the_end(service: Service) -> None:
    item = trained(1)
    key = item.result.artifacts[0].logical_key
    await service.objects.put(key, b"weights")
    service.trainer.feed.append(item)
    await recorded(service)
    service.datasets.down = True
    service.datasets.asked.clear()
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await until_true(lambda: service.datasets.asked)
    assert service.datasets.held
    service.datasets.down = False
    await gone(service, key)


async def test_files_of_a_variant_that_was_deleted_while_it_was_made_go_with_its_job(
    service: Service, tmp_path: Path
) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.9, 0.1]), side=32)
    made = await optimized(2, variant.job, service.objects, directory)
    service.trainer.uids[variant.job] = made.result.job_uid
    service.trainer.feed.append(made)
    await until(lambda: feed_is_read(service, 2), bool)
    await housekeeper(service).tidy()
    key = made.result.artifacts[0].logical_key
    assert await service.objects.stat(key) is not None, "its job still shows them"
    service.trainer.uids[variant.job] = "another job of that name"
    await gone(service, key)


@pytest.mark.parametrize("kind", ["train", "optimize"])
async def test_files_of_a_variant_that_failed_go_with_its_job(service: Service, tmp_path: Path, kind: str) -> None:
    directory = write_model(tmp_path / "m", BOX, side=32)
    item = await with_variant(with_facts(trained(1)), service.objects, directory)
    item.result.variants[0].failure = "EXPORT_FAILED: 3 px off"
    service.trainer.feed.append(item if kind == "train" else trained(1))
    await recorded(service)
    if kind == "optimize":
        asked = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
        item = await optimized(2, asked.job, service.objects, directory)
        item.result.variants.add(id="onnx-fp32", format="onnx", role_prefix="variant/", failure="3 px off")
        service.trainer.feed.append(item)
        await variant_in(service, ModelVariant.STATE_FAILED)
    keys = [one.logical_key for one in item.result.artifacts if one.role.startswith("variant/")]
    await until(lambda: asyncio.gather(*map(service.objects.stat, keys)), lambda found: not any(found))
    assert [one.role for one in (await recorded(service)).artifacts] == ["checkpoint"]
