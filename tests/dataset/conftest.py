"""The service on both databases, beside an annotation service that can fail."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetVersion
from bloomery_dataset.housekeeping import Housekeeper
from bloomery_dataset.settings import DatasetSettings
from bloomery_kit.times import utc_now
from real_parts.postgres import PostgresServer
from tests import databases
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import Service, annotating, box, housekeeping, serving, settings_for


@pytest.fixture
async def migrated_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    async with databases.postgres_url("dataset", postgres_server) as url:
        yield url


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return databases.sqlite_url("dataset", tmp_path / "dataset.db")


@pytest.fixture(params=databases.BOTH)
def any_database_url(request: pytest.FixtureRequest, database_url: str) -> str:
    if request.param == "sqlite":
        return database_url
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
def fake() -> FakeAnnotations:
    return FakeAnnotations()  # type: ignore[abstract]


@pytest.fixture
async def annotation_target(fake: FakeAnnotations) -> AsyncIterator[str]:
    async with annotating(fake) as address:
        yield address


@pytest.fixture
def settings(tmp_path: Path, database_url: str, annotation_target: str) -> DatasetSettings:
    return settings_for(tmp_path, database_url, annotation_target)


@pytest.fixture
def both_settings(tmp_path: Path, any_database_url: str, annotation_target: str) -> DatasetSettings:
    """The settings on each of the databases; a file that wants them overrides `settings` with them."""
    return settings_for(tmp_path, any_database_url, annotation_target)


@pytest.fixture
async def service(settings: DatasetSettings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def idle(settings: DatasetSettings) -> AsyncIterator[Service]:
    """A service that takes requests and does nothing by itself."""
    async with serving(settings, start=False) as running:
        yield running


@pytest.fixture
async def housekeeper(settings: DatasetSettings, tmp_path: Path) -> AsyncIterator[Housekeeper]:
    async with housekeeping(tmp_path, settings.database_url, settings.annotation_target) as made:
        yield made


@pytest.fixture
async def later(settings: DatasetSettings, tmp_path: Path) -> AsyncIterator[Housekeeper]:
    """A housekeeper two hours later."""
    clock = lambda: utc_now() + timedelta(hours=2)  # noqa: E731
    async with housekeeping(tmp_path, settings.database_url, settings.annotation_target, clock=clock) as made:
        yield made


@pytest.fixture
async def version(service: Service, fake: FakeAnnotations) -> DatasetVersion:
    """A version of twenty images."""
    for number in range(20):
        fake.add(number, [box("rbc", number + 0.5)] + [box("wbc")] * (number % 4 == 0))
    return await service.build()
