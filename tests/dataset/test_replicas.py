"""Several builders: each build is done by one of them at a time, and only by whoever has its lease."""

import asyncio
from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetVersion
from bloomery_dataset.settings import DatasetSettings
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import (
    Service,
    building,
    complete,
    fill,
    let_leases_run_out,
    serving,
    settings_for,
)


async def test_replicas_build_each_version_once(
    any_database_url: str, fake: FakeAnnotations, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake, 9)
    settings = settings_for(tmp_path, any_database_url, annotation_target)
    async with serving(settings, start=False) as idle:
        names = [(await idle.create(parent=f"projects/cells/datasets/d{number % 3}")).name for number in range(6)]

        async def replica() -> int:
            built = 0
            async with building(tmp_path, any_database_url, annotation_target) as builder:
                while await builder.build_next():
                    built += 1
            return built

        assert sum(await asyncio.gather(*(replica() for _ in range(3)))) == 6
        versions = [await complete(idle, name, tmp_path / "blobs", 9) for name in names]
    assert len(fake.streams) == 6
    assert [version.version for version in versions] == [1] * 6
    assert sum(version.reused for version in versions) == 3, "of two equal builds at once, one is the version"


async def test_a_builder_that_slept_through_its_lease_changes_nothing(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def asleep_as_well(*_: object) -> None:
        await asyncio.Event().wait()

    fill(fake)
    gate = fake.gate = asyncio.Event()
    created = await idle.create()
    async with building(tmp_path, settings.database_url, annotation_target) as sleeper:
        monkeypatch.setattr(sleeper, "_keep", asleep_as_well)
        asleep = asyncio.create_task(sleeper.build_next())
        await fake.reached_gate.wait()
        fake.gate = None
        await let_leases_run_out(settings.database_url)
        async with building(tmp_path, settings.database_url, annotation_target) as second:
            assert await second.build_next()
        ready = await complete(idle, created.name, tmp_path / "blobs")
        gate.set()
        await asleep
    assert await idle.get(created.name) == ready


async def test_a_builder_that_slept_cannot_finish_what_another_one_builds(
    idle: Service,
    fake: FakeAnnotations,
    settings: DatasetSettings,
    annotation_target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def asleep_as_well(*_: object) -> None:
        await asyncio.Event().wait()

    fill(fake)
    created = await idle.create()
    async with (
        building(tmp_path, settings.database_url, annotation_target) as sleeper,
        building(tmp_path, settings.database_url, annotation_target) as second,
    ):
        monkeypatch.setattr(sleeper, "_keep", asleep_as_well)
        first_gate = fake.gate = asyncio.Event()
        asleep = asyncio.create_task(sleeper.build_next())
        await fake.reached_gate.wait()
        await let_leases_run_out(settings.database_url)
        second_gate, fake.reached_gate = asyncio.Event(), asyncio.Event()
        fake.gate = second_gate
        awake = asyncio.create_task(second.build_next())
        await fake.reached_gate.wait()
        first_gate.set()
        await asleep
        assert (await idle.get(created.name)).state == DatasetVersion.STATE_BUILDING
        second_gate.set()
        await awake
    await complete(idle, created.name, tmp_path / "blobs")


async def test_a_build_longer_than_its_lease_stays_with_its_builder(
    any_database_url: str, fake: FakeAnnotations, annotation_target: str, tmp_path: Path
) -> None:
    fill(fake)
    gate = fake.gate = asyncio.Event()
    settings = settings_for(tmp_path, any_database_url, annotation_target)
    async with serving(settings, start=False) as idle:
        created = await idle.create()
        async with (
            building(tmp_path, any_database_url, annotation_target, lease=2.0) as first,
            building(tmp_path, any_database_url, annotation_target, lease=2.0) as second,
        ):
            at_work = asyncio.create_task(first.build_next())
            await fake.reached_gate.wait()
            for _ in range(10):
                assert not await second.build_next(), "it has been given away while its builder lives"
                await asyncio.sleep(0.3)
            gate.set()
            assert await at_work
        await complete(idle, created.name, tmp_path / "blobs")
    assert len(fake.streams) == 1
