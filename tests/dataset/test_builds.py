"""What a build makes of a project, through real servers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.dataset.v1 import DatasetSpec, DatasetVersion, WatchDatasetVersionRequest
from bloomery.vision.v1 import TaskType
from bloomery_dataset.app import SCHEMA
from bloomery_dataset.store.tables import VERSIONS
from bloomery_kit.database import Database
from bloomery_kit.errors import error_info
from bloomery_vision.geometry import Box, Shape
from tests.dataset.annotations import UID, FakeAnnotations
from tests.dataset.helpers import DATASET, DETECT, PARENT, Service, box, rows_of, until


async def test_a_version_holds_every_image_once_with_its_shapes(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    for number in range(20):
        fake.add(number, [box("rbc", number), box("wbc")] if number % 2 else [box("rbc", number)])

    created = await service.create()
    assert created.state == DatasetVersion.STATE_BUILDING
    assert created.name == f"{DATASET}/versions/{created.uid}"
    assert created.version == 0
    version = await service.finish(created.name)

    assert version.state == DatasetVersion.STATE_READY
    assert version.name == f"{DATASET}/versions/1"
    assert (version.done_count, version.item_count) == (20, 20)
    assert list(version.classes) == ["RBC", "WBC", "Platelets"]
    assert {part.split: part.image_count for part in version.statistics.splits} == {"train": 14, "val": 4, "test": 2}
    assert sum(part.shapes["RBC"] for part in version.statistics.splits) == 20
    assert sum(part.images["WBC"] for part in version.statistics.splits) == 10
    assert list(version.statistics.image_sides) == [640, 640, 480, 480]
    assert version.statistics.total_bytes == sum(1000 + number for number in range(20))
    rows = await rows_of(version, tmp_path / "blobs")
    assert [row.file_name for row in rows] == [f"{number:04d}.jpg" for number in range(20)]
    assert rows[3].shapes == (Shape(Box(3, 2, 30, 40), "RBC"), Shape(Box(1, 2, 30, 40), "WBC"))
    assert rows[3].logical_key == f"{UID}/{rows[3].digest.removeprefix('sha256:')}"
    assert fake.of_versions == {f"{DATASET}/versions/{version.uid}"}


async def test_the_next_version_counts_on_and_latest_means_the_newest(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    first = await service.build()
    fake.add(2, [box()])
    second = await service.build()

    assert [first.version, second.version] == [1, 2]
    assert await service.get(f"{DATASET}/versions/latest") == second
    assert await service.get(f"{DATASET}/versions/1") == first
    assert await service.get(f"{DATASET}/versions/{first.uid}") == first


async def test_unchanged_content_ends_with_the_earlier_version(service: Service, fake: FakeAnnotations) -> None:
    asset = fake.add(1, [box()])
    first = await service.build()
    fake.edit(asset, [box("wbc")])
    second = await service.build()
    fake.edit(asset, [box()])

    third = await service.create()
    ended = await service.finish(third.name)

    assert (ended.name, ended.reused, ended.uid) == (first.name, True, first.uid)
    assert not (await service.get(first.name)).reused
    assert await service.get(third.name) == ended
    assert (await service.build(DatasetSpec(task=DETECT.task))).version == 3, "another spec is another version"
    holders = {f"{DATASET}/versions/{uid}" for uid in (first.uid, second.uid)}
    await until(lambda: holders <= fake.of_versions and f"{DATASET}/versions/{third.uid}" not in fake.of_versions)


async def test_the_same_request_makes_one_version(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    answers = await asyncio.gather(*(service.create(request_id="r") for _ in range(3)))
    assert len({answer.uid for answer in answers}) == 1
    await service.finish(answers[0].name)
    assert await service.create(request_id="r") == answers[0]


async def test_a_version_whose_spec_was_stored_with_fewer_fields_is_found_again(
    service: Service, fake: FakeAnnotations, database_url: str
) -> None:
    fake.add(1, [box()])
    first = await service.build()
    db = Database.connect(database_url, SCHEMA)
    async with db.write() as tx:
        spec: Any = (await tx.execute(sa.select(VERSIONS.c.spec))).scalar_one()
        del spec["include_unannotated"], spec["split"]["unassigned"]
        await tx.execute(sa.update(VERSIONS).values(spec=spec))
    await db.close()

    again = await service.build()

    assert (again.name, again.reused) == (first.name, True)


@pytest.mark.parametrize(
    ("spec", "reason", "hint"),
    [
        (DETECT, "NO_USABLE_IMAGES", "3 not annotated"),
        (DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY), "NO_USABLE_IMAGES", "classify"),
    ],
)
async def test_a_project_without_a_usable_image_fails_and_says_why(
    service: Service, fake: FakeAnnotations, spec: DatasetSpec, reason: str, hint: str
) -> None:
    for number in range(3):
        fake.add(number, None)

    version = await service.build(spec)

    assert version.state == DatasetVersion.STATE_FAILED
    assert error_info(version.error).reason == reason
    assert hint in version.error.message
    assert version.version == 0
    await until(lambda: not fake.of_versions)
    fake.add(9, [box()])
    assert (await service.build()).version == 1, "a failed build takes no number"


async def test_a_project_without_labels_fails(service: Service, fake: FakeAnnotations) -> None:
    fake.labels = []
    fake.add(1, [])
    version = await service.build()
    assert error_info(version.error).reason == "NO_CLASSES"


async def test_a_watch_shows_states_in_order_and_skips_those_seen(service: Service, fake: FakeAnnotations) -> None:
    fake.gate = asyncio.Event()
    for number in range(6):
        fake.add(number, [box()])
    created = await service.create()
    states: list[DatasetVersion] = []
    async for state in service.stub.WatchDatasetVersion(WatchDatasetVersionRequest(name=created.name)):
        states.append(state)
        fake.gate.set()

    sequences = [state.sequence for state in states]
    assert sequences == sorted(sequences)
    assert states[-1].state == DatasetVersion.STATE_READY
    request = WatchDatasetVersionRequest(name=states[-1].name, after_sequence=sequences[-1])
    assert [state async for state in service.stub.WatchDatasetVersion(request, timeout=5)] == []


async def test_same_content_gives_the_same_hash_in_another_dataset(service: Service, fake: FakeAnnotations) -> None:
    for number in range(12):
        fake.add(number, [box()])
    first = await service.build()
    other = await service.finish((await service.create(parent=f"{PARENT}/datasets/other")).name)
    assert other.content_hash == first.content_hash
    assert (other.version, other.reused) == (1, False)
