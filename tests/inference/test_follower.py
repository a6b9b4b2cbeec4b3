"""What is recorded from the feed of results: once, in order, and as a refusal where it makes no sense."""

from uuid import uuid4

import grpc
import pytest

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.inference.v1 import (
    DeleteModelVersionRequest,
    FindModelVersionRequest,
    GetModelVersionRequest,
    ListModelVersionsRequest,
    OptimizeModelVersionRequest,
)
from bloomery.training.v1 import JobServiceStub
from bloomery_inference.follower import Follower
from bloomery_inference.recording import Recorder
from bloomery_kit.errors import error_info, to_status
from bloomery_kit.feeds import Notifier
from tests.inference.asking import PETS, V1, gone, recorded, until_true
from tests.inference.conftest import Service
from tests.inference.samples import CLASSES, DATASET, imported, trained, with_facts


async def test_a_finished_training_becomes_a_version_with_its_lineage(service: Service) -> None:
    item = trained(1)
    service.trainer.feed.append(item)
    version = await recorded(service)
    assert (version.version, list(version.classes), version.metrics["test/map50"]) == (1, CLASSES, 0.75)
    assert (version.input.height, version.input.width, version.input.resize) == (32, 32, "letterbox")
    lineage = version.lineage
    assert (lineage.job, lineage.dataset_version, lineage.seed) == (item.job.name, DATASET, 5)
    assert (lineage.recipe, lineage.base_digest) == ("recipes/yolo-detect 1", "sha256:base")
    assert lineage.parameters["epochs"] == 3
    found = await service.models.FindModelVersion(FindModelVersionRequest(job=item.job.name))
    assert found == version
    assert service.datasets.held == {(DATASET, f"projects/pets/models/pets/versions/{version.uid}")}


async def test_an_imported_model_becomes_a_version_that_holds_no_data(service: Service) -> None:
    service.datasets.down = True
    item = imported(1)
    service.trainer.feed.append(item)
    version = await recorded(service)
    assert (list(version.classes), version.input.height) == (CLASSES, 32)
    lineage = version.lineage
    assert (lineage.job, lineage.dataset_version, lineage.dataset_hash) == (item.job.name, "", "")
    assert (lineage.base, lineage.base_digest) == ("mine.pt", "sha256:mine")
    await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    [asked] = service.trainer.created
    assert (asked.job.recipe, asked.job.dataset_version) == ("recipes/yolo-detect", "")
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.GetModelVersion(GetModelVersionRequest(name=V1))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_result_that_comes_again_makes_no_second_version(service: Service) -> None:
    first = trained(1)
    again = trained(2, job_uid=first.result.job_uid)
    service.trainer.feed += [first, again, trained(3)]
    second = await recorded(service, f"{V1[:-1]}2")
    assert second.lineage.job_uid == service.trainer.feed[2].result.job_uid
    latest = await service.models.GetModelVersion(
        GetModelVersionRequest(name="projects/pets/models/pets/versions/latest")
    )
    assert latest == second


@pytest.mark.parametrize("wrong", [{"seed": "many"}, {"classes": None}, {"input": {"height": "tall"}}])
async def test_a_result_that_makes_no_sense_does_not_hold_up_those_after_it(
    service: Service, wrong: dict[str, object]
) -> None:
    odd = trained(1)
    odd.result.details.update(wrong)  # type: ignore[arg-type]
    service.trainer.feed += [odd, trained(2)]
    version = await recorded(service)
    assert version.lineage.job_uid == service.trainer.feed[1].result.job_uid
    assert len(service.datasets.held) == 1, "a version that will never be must not keep its data"


async def test_a_result_waits_while_its_dataset_cannot_be_held(service: Service) -> None:
    service.datasets.down = True
    service.trainer.feed.append(trained(1))
    await until_true(lambda: service.datasets.asked)
    listed = await service.models.ListModelVersions(ListModelVersionsRequest(parent="projects/-/models/-"))
    assert not listed.model_versions
    service.datasets.down = False
    await recorded(service)


async def test_a_result_that_can_never_be_recorded_holds_up_none_and_says_why(service: Service) -> None:
    stuck = trained(1)
    stuck.job.dataset_version = service.datasets.refused = "projects/pets/datasets/going/versions/1"
    service.datasets.refusal = grpc.StatusCode.INVALID_ARGUMENT
    odd = trained(2)
    odd.job.model = "no name of a model"
    service.trainer.feed += [stuck, odd, trained(3)]
    version = await recorded(service)
    assert version.lineage.job_uid == service.trainer.feed[2].result.job_uid
    for item, why in ((stuck, "being deleted"), (odd, "no name of a model")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.models.FindModelVersion(FindModelVersionRequest(job=item.job.name))
        assert error_info(to_status(refused.value)).reason == "RESULT_REFUSED"
        assert why in (refused.value.details() or "")


def another_replica(service: Service) -> Follower:
    (connection,) = service.app._channels.values()
    datasets, annotations = DatasetServiceStub(connection), AnnotationServiceStub(connection)
    recorder = Recorder(service.app._db, datasets=datasets, annotations=annotations)
    return Follower(service.app._db, recorder, jobs=JobServiceStub(connection), changed=Notifier())


async def test_data_is_held_under_the_name_that_people_give_the_version(service: Service) -> None:
    items = [trained(1), trained(2), trained(3, model="other")]
    service.trainer.feed += items
    second = await recorded(service, f"{V1[:-1]}2")
    await recorded(service, "projects/pets/models/other/versions/1")
    called = ["models/other@1", "models/pets@1", "models/pets@2"]
    assert sorted(service.datasets.titles.values()) == called
    late = another_replica(service)
    for item in items:
        await late.take(item)
    assert sorted(service.datasets.titles.values()) == called
    assert service.datasets.titles[f"{PETS}/versions/{second.uid}"] == "models/pets@2"


async def test_a_replica_that_comes_late_holds_no_data_of_a_version_that_is_gone(service: Service) -> None:
    item = trained(1)
    service.trainer.feed.append(item)
    await recorded(service)
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await gone(service, "p/none")
    late = another_replica(service)
    await late.take(item)
    await gone(service, "p/none")


async def test_two_jobs_with_one_name_find_their_versions_by_uid_and_the_newer_without(
    service: Service,
) -> None:
    first, second = trained(1), trained(2)
    second.job.name = second.result.job = first.job.name
    service.trainer.feed += [first, second]
    await recorded(service, f"{V1[:-1]}2")
    for asked, made in (("", second), (first.result.job_uid, first), (second.result.job_uid, second)):
        request = FindModelVersionRequest(job=first.job.name, job_uid=asked)
        assert (await service.models.FindModelVersion(request)).lineage.job_uid == made.result.job_uid
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.FindModelVersion(FindModelVersionRequest(job=first.job.name, job_uid=uuid4().hex))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_the_facts_of_a_model_are_its_versions(service: Service) -> None:
    service.trainer.feed += [trained(1), with_facts(trained(2), base_digest="sha256:base")]
    new, old = await recorded(service, f"{V1[:-1]}2"), await recorded(service)
    assert (new.task, list(new.classes), new.input) == (old.task, list(old.classes), old.input)
    for fact in ("base", "base_digest", "license", "seed"):
        assert getattr(new.lineage, fact) == getattr(old.lineage, fact)
