"""The service on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bloomery.annotation.v1 import Project
from bloomery_annotation.settings import AnnotationSettings
from tests.annotation.helpers import Server, folder_store, serving, settings_for


@pytest.fixture
def settings(tmp_path: Path) -> AnnotationSettings:
    return settings_for(f"sqlite+aiosqlite:///{tmp_path}/annotation.db", folder_store(tmp_path / "blobs"))


@pytest.fixture
async def server(settings: AnnotationSettings) -> AsyncIterator[Server]:
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def project(server: Server) -> Project:
    return await server.project()
