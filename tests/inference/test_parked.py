"""A result that cannot be recorded for a reason that may pass waits beside the feed until it is."""

import asyncio

import grpc
import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.inference.v1 import FindModelVersionRequest
from bloomery.training.v1 import FeedItem
from bloomery_inference import parked
from bloomery_inference.parked import WAITING, Parked
from bloomery_inference.recording import Recorder
from bloomery_inference.store import results
from bloomery_inference.store.tables import CLEANUPS, VERSIONS
from bloomery_kit.errors import Internal
from bloomery_kit.feeds import Notifier
from tests.inference.asking import V1, recorded, until, until_true
from tests.inference.conftest import Service
from tests.inference.samples import DATASET, trained
from tests.inference.test_follower import another_replica as follower

OTHER_DATA = "projects/pets/datasets/going/versions/1"
MAY_PASS = ("FAILED_PRECONDITION", "UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE")


@pytest.fixture
def first_pause() -> float:
    """Seconds before a parked result is tried again for the first time."""
    return 0.05


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, first_pause: float) -> None:
    monkeypatch.setattr(parked, "_FIRST_PAUSE", first_pause)


def stuck(service: Service, sequence: int = 1, **fields: str) -> FeedItem:
    """A result whose data cannot be held."""
    item = trained(sequence, **fields)  # type: ignore[arg-type]
    item.job.dataset_version = service.datasets.refused = OTHER_DATA
    return item


async def parked_reason(service: Service, item: FeedItem) -> str:
    async def reason() -> str | None:
        async with service.app._db.read() as tx:
            return await results.parking(tx, item.job.name, item.job.uid)

    return await until(reason, bool) or ""


async def is_parked(service: Service, item: FeedItem) -> bool:
    async with service.app._db.read() as tx:
        return await results.is_parked(tx, item.result.sequence)


async def count(service: Service, table: sa.Table) -> int:
    async with service.app._db.read() as tx:
        return int(await tx.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def another_replica(service: Service) -> Parked:
    (connection,) = service.app._channels.values()
    datasets, annotations = DatasetServiceStub(connection), AnnotationServiceStub(connection)
    recorder = Recorder(service.app._db, datasets=datasets, annotations=annotations)
    return Parked(service.app._db, recorder, changed=Notifier())


@pytest.mark.parametrize("answer", MAY_PASS)
async def test_a_result_that_a_neighbour_keeps_from_being_recorded_waits_beside_the_feed(
    service: Service, answer: str
) -> None:
    item = stuck(service)
    service.datasets.refusal = grpc.StatusCode[answer]
    service.trainer.feed += [item, trained(2)]
    version = await recorded(service)
    assert version.lineage.job_uid == service.trainer.feed[1].result.job_uid
    await until_true(lambda: WAITING._value.get() == 1)
    with pytest.raises(grpc.aio.AioRpcError) as waits:
        await service.models.FindModelVersion(FindModelVersionRequest(job=item.job.name))
    assert waits.value.code() is grpc.StatusCode.NOT_FOUND
    assert "it is being deleted" in (waits.value.details() or "")
    service.datasets.refused = ""
    assert (await recorded(service, f"{V1[:-1]}2")).lineage.job_uid == item.result.job_uid
    await until_true(lambda: WAITING._value.get() == 0)
    assert not await is_parked(service, item)
    assert {resource for resource, _ in service.datasets.held} == {OTHER_DATA, DATASET}


async def test_a_parked_result_becomes_a_model_also_when_its_job_was_deleted(service: Service) -> None:
    item = stuck(service)
    key = item.result.artifacts[0].logical_key
    await service.objects.put(key, b"weights")
    service.trainer.feed.append(item)
    await parked_reason(service, item)
    assert item.job.name not in {**service.trainer.jobs, **service.trainer.uids}
    service.datasets.refused = ""
    assert (await recorded(service)).lineage.job_uid == item.job.uid
    assert await service.objects.stat(key)


async def test_a_parked_result_that_proves_hopeless_is_refused(service: Service) -> None:
    item = stuck(service)
    service.trainer.feed.append(item)
    await parked_reason(service, item)
    service.projects.uid = "another project of that name"
    await until(lambda: is_parked(service, item), lambda there: not there)
    with pytest.raises(grpc.aio.AioRpcError, match="makes no model version"):
        await service.models.FindModelVersion(FindModelVersionRequest(job=item.job.name))
    await until_true(lambda: not service.projects.held)


async def test_an_error_that_nobody_expected_parks_a_result_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise Internal("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Recorder, "_write", full)
        item = trained(1)
        service.trainer.feed.append(item)
        assert "the disk is full" in await parked_reason(service, item)
    await recorded(service)


async def test_the_project_is_not_held_for_a_model_that_a_parked_result_no_longer_makes(service: Service) -> None:
    item = stuck(service)
    service.trainer.feed += [item, trained(2)]
    await recorded(service)
    assert len(service.projects.held) == 2
    service.datasets.refused = ""
    await recorded(service, f"{V1[:-1]}2")
    await until_true(lambda: len(service.projects.held) == 1)


class TestWithoutAHurry:
    """Nothing tries again by itself here."""

    @pytest.fixture
    def first_pause(self) -> float:
        return 600.0

    async def test_replicas_that_try_at_once_record_a_result_once_and_keep_its_holds(self, service: Service) -> None:
        item = stuck(service)
        service.trainer.feed.append(item)
        await parked_reason(service, item)
        service.datasets.refused = ""
        await asyncio.gather(*(another_replica(service).try_again() for _ in range(3)))
        version = await recorded(service)
        assert version.lineage.job_uid == item.job.uid
        assert service.datasets.titles[f"projects/pets/models/pets/versions/{version.uid}"] == "models/pets@1"
        assert (await count(service, VERSIONS), await count(service, CLEANUPS)) == (1, 0)

    async def test_a_replica_that_reads_the_feed_late_leaves_a_parked_result_its_holds(self, service: Service) -> None:
        item = stuck(service)
        service.trainer.feed.append(item)
        await parked_reason(service, item)
        service.datasets.refused = ""
        await follower(service).take(item)
        assert await count(service, CLEANUPS) == 0
        assert await is_parked(service, item)


def test_pauses_grow_while_nothing_is_recorded_and_begin_anew_once_something_is() -> None:
    waiting = Parked(None, None, changed=Notifier())  # type: ignore[arg-type]
    pauses = []
    for left, tried in [*[(2, 2)] * 20, (1, 2), (0, 1)]:
        waiting._pause = waiting._next_pause(left=left, tried=tried)
        pauses.append(waiting._pause)
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert pauses[19:] == [600, pytest.approx(0.05), 60]
