"""The service on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bloomery_access.settings import AccessSettings
from real_parts.postgres import PostgresServer
from tests import databases
from tests.access.helpers import Access, serving, settings_for


@pytest.fixture
async def migrated_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    async with databases.postgres_url("access", postgres_server) as url:
        yield url


@pytest.fixture(params=databases.BOTH)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> AccessSettings:
    if request.param == "sqlite":
        return settings_for(tmp_path, databases.sqlite_url("access", tmp_path / "access.db"))
    return settings_for(tmp_path, request.getfixturevalue("migrated_postgres_url"))


@pytest.fixture
async def access(settings: AccessSettings) -> AsyncIterator[Access]:
    async with serving(settings) as running:
        yield running
