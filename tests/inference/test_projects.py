"""A model keeps its project from being deleted, so that none shows in another project of the same id."""

from datetime import timedelta

import grpc
import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.inference.v1 import DeleteModelRequest, DeleteModelVersionRequest, GetModelRequest, ListModelsRequest
from bloomery_inference.holding import Holding
from bloomery_inference.model import Model
from bloomery_inference.store import models, results
from bloomery_inference.store.tables import MODELS
from bloomery_kit.names import new_uid
from bloomery_kit.times import utc_now
from tests.inference.asking import PETS, V1, gone, recorded, until, until_true
from tests.inference.conftest import Service
from tests.inference.neighbours import PROJECT_UID
from tests.inference.samples import DATASET, imported, trained
from tests.inference.test_follower import another_replica

OTHER = "q" * 32


async def listed(service: Service) -> list[str]:
    found = await service.models.ListModels(ListModelsRequest(parent="projects/pets"))
    return [model.name for model in found.models]


async def holder(service: Service) -> str:
    return f"projects/pets/models/{(await service.models.GetModel(GetModelRequest(name=PETS))).uid}"


async def refused(service: Service, job: str) -> str:
    async def reason() -> str | None:
        async with service.app._db.read() as tx:
            return await results.refusal(tx, job, "")

    return await until(reason, bool) or ""


async def test_a_model_holds_its_project_until_it_is_deleted(service: Service) -> None:
    item = imported(1)
    key = item.result.artifacts[0].logical_key
    await service.objects.put(key, b"weights")
    service.trainer.feed.append(item)
    await recorded(service)
    first = await holder(service)
    assert (service.projects.held, service.projects.titles[first]) == ({first}, "models/pets")
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await gone(service, key)
    assert service.projects.held == {first}, "the model is still there, without versions"
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    await until_true(lambda: not service.projects.held)
    service.trainer.feed.append(imported(2))
    await recorded(service)
    assert service.projects.held == {await holder(service)} != {first}


async def test_a_result_of_a_project_that_is_gone_makes_no_model_in_another_of_its_id(service: Service) -> None:
    service.projects.uid = OTHER
    item = imported(1)
    await service.objects.put(item.result.artifacts[0].logical_key, b"weights")
    service.trainer.feed.append(item)
    assert "projects/pets does not exist" in await refused(service, item.job.name)
    assert (await listed(service), service.projects.held) == ([], set())
    await until(lambda: service.objects.stat(item.result.artifacts[0].logical_key), lambda file: file is None)


async def test_a_late_result_of_a_project_that_is_gone_does_not_join_a_model_of_another(service: Service) -> None:
    service.projects.uid = OTHER
    mine, late = imported(1), imported(2)
    mine.job.project_uid = OTHER
    service.trainer.feed += [mine, late]
    await refused(service, late.job.name)
    assert (await service.models.GetModel(GetModelRequest(name=PETS))).latest_version == 1


async def test_a_result_waits_for_the_owner_of_projects(service: Service) -> None:
    service.projects.down = True
    service.trainer.feed.append(imported(1))
    await until_true(lambda: service.projects.asked)
    assert await listed(service) == []
    service.projects.down = False
    await recorded(service)
    assert service.projects.held == {await holder(service)}


async def test_a_refused_result_holds_no_project(service: Service) -> None:
    service.datasets.refused, service.datasets.refusal = DATASET, grpc.StatusCode.INVALID_ARGUMENT
    item = trained(1)
    service.trainer.feed.append(item)
    await refused(service, item.job.name)
    assert service.projects.titles, "it was never held, so this test shows nothing"
    await until_true(lambda: not service.projects.held)


async def test_a_replica_that_comes_late_holds_no_project_for_a_model_that_is_gone(service: Service) -> None:
    item = imported(1)
    service.trainer.feed.append(item)
    await recorded(service)
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    await until_true(lambda: not service.projects.held)
    service.projects.titles.clear()
    await another_replica(service).take(item)
    assert service.projects.titles, "it did not hold it, so this test shows nothing"
    await until_true(lambda: not service.projects.held)
    assert await listed(service) == []


async def written(service: Service, *, project_uid: str = PROJECT_UID, age: timedelta = timedelta(0)) -> Model:
    """A model as a version of this service writes it that knows nothing of holds."""
    now = utc_now() - age
    model = Model(new_uid(), "pets", "pets", "", {}, now, now, 1, 0, project_uid)
    async with service.app._db.write() as tx:
        await models.ensure_model(tx, model, held=False)
    return model


@pytest.mark.parametrize("project_uid", [PROJECT_UID, ""])
async def test_a_model_from_before_holds_its_project_soon(service: Service, project_uid: str) -> None:
    service.projects.down = True
    model = await written(service, project_uid=project_uid)
    await until_true(lambda: service.projects.asked)
    service.projects.down = False
    await until_true(lambda: service.projects.held == {model.holder})


async def test_a_hold_that_comes_after_the_deletion_is_given_back(service: Service) -> None:
    model = await written(service)
    await until_true(lambda: service.projects.held == {model.holder})
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    await until_true(lambda: not service.projects.held)
    service.projects.titles.clear()
    (connection,) = service.app._channels.values()
    await Holding(service.app._db, AnnotationServiceStub(connection)).catch_up(model)
    assert service.projects.titles, "it did not hold it, so this test shows nothing"
    await until_true(lambda: not service.projects.held)


@pytest.mark.parametrize("model", [{"project_uid": OTHER}, {"project_uid": "", "age": timedelta(days=1)}])
async def test_a_model_of_a_project_that_is_gone_goes_too(service: Service, model: dict[str, object]) -> None:
    await written(service, **model)  # type: ignore[arg-type]
    await until(lambda: listed(service), lambda names: not names)
    assert not service.projects.held


async def test_a_model_with_data_stays_whatever_is_said_of_its_project(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    service.projects.uid = OTHER
    service.projects.asked.clear()
    async with service.app._db.write() as tx:
        await tx.execute(sa.update(MODELS).values(held=False))
    # Whoever asks again has done with the first answer.
    await until_true(lambda: len(service.projects.asked) > 1)
    assert await listed(service) == [PETS]
