"""A result that cannot be recorded for a reason that may pass waits beside the feed until it is."""

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.inference.v1 import FindModelVersionRequest
from bloomery.training.v1 import FeedItem, JobServiceStub
from bloomery_inference import parked
from bloomery_inference.parked import WAITING, Parked
from bloomery_inference.recording import Recorder
from bloomery_inference.store import results
from bloomery_inference.store.tables import CLEANUPS, VERSIONS
from bloomery_kit.errors import Internal
from bloomery_kit.feeds import Notifier
from bloomery_kit.times import utc_now
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


def another_replica(service: Service, clock: Callable[[], float] = time.monotonic) -> Parked:
    (connection,) = service.app._channels.values()
    datasets, annotations = DatasetServiceStub(connection), AnnotationServiceStub(connection)
    recorder = Recorder(service.app._db, datasets=datasets, annotations=annotations)
    return Parked(service.app._db, recorder, jobs=JobServiceStub(connection), changed=Notifier(), clock=clock)


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


class Clock:
    """Stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestWithoutAHurry:
    """Nothing tries again by itself here."""

    @pytest.fixture
    def first_pause(self) -> float:
        return 600.0

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def trying(self, service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Parked:
        monkeypatch.setattr(parked, "_FIRST_PAUSE", 1.0)
        return another_replica(service, clock)

    async def test_the_pauses_of_each_grow_by_themselves_until_another_one_is_recorded(
        self, service: Service, clock: Clock, trying: Parked
    ) -> None:
        await service.app.loops.close()
        await follower(service).take(stuck(service, 1))
        pauses = list[float]()
        for _ in range(12):
            await trying.try_again()
            pauses.append(trying._waits[1].due - clock.now)
            clock.now = trying._waits[1].due
        assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
        await trying.try_again()
        service.datasets.asked.clear()
        await follower(service).take(stuck(service, 2))
        await trying.try_again()
        assert len(service.datasets.asked) == 2, "once by who follows the feed, once by who tries what is new"
        assert [wait.due - clock.now for wait in trying._waits.values()] == [600, 1]
        async with service.app._db.write() as tx:
            await results.park(tx, trained(3), "for a moment", utc_now())
        await trying.try_again()
        assert [wait.due - clock.now for wait in trying._waits.values()] == [1, 1]

    async def test_a_neighbour_that_is_away_is_asked_once_a_pass_and_not_always_for_the_same_result(
        self, service: Service, clock: Clock, trying: Parked
    ) -> None:
        await service.app.loops.close()
        service.datasets.refusal = grpc.StatusCode.UNAVAILABLE
        for sequence in (1, 2, 3):
            await follower(service).take(stuck(service, sequence))
        asked = list[list[str]]()
        for _ in range(4):
            service.datasets.asked.clear()
            clock.now += parked._LONGEST_PAUSE
            await trying.try_again()
            asked.append(sorted(set(service.datasets.asked)))
        assert [len(holders) for holders in asked] == [1] * 4
        assert asked[0] == asked[3]
        assert len({holders[0] for holders in asked}) == 3
        service.datasets.refused = ""
        clock.now += parked._LONGEST_PAUSE
        await trying.try_again()
        assert await count(service, VERSIONS) == 3

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
