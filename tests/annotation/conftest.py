"""The service on SQLite, on PostgreSQL where transactions matter, and on MinIO for one run through everything."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bloomery.annotation.v1 import Project
from bloomery_annotation.settings import AnnotationSettings
from real_parts.postgres import PostgresServer
from tests import databases
from tests.annotation.helpers import Server, bucket_store, folder_store, serving, settings_for


@pytest.fixture
async def migrated_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    async with databases.postgres_url("annotation", postgres_server) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path) -> AnnotationSettings:
    url = databases.sqlite_url("annotation", tmp_path / "annotation.db")
    return settings_for(url, folder_store(tmp_path / "blobs"))


@pytest.fixture(params=databases.BOTH)
def empty_settings(request: pytest.FixtureRequest, tmp_path: Path) -> AnnotationSettings:
    """The settings on each of the databases, without a table."""
    url = f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    return settings_for(url, folder_store(tmp_path / "blobs"))


@pytest.fixture(params=databases.BOTH)
def both_settings(request: pytest.FixtureRequest, tmp_path: Path) -> AnnotationSettings:
    """The settings on each of the databases."""
    if request.param == "sqlite":
        url = databases.sqlite_url("annotation", tmp_path / "annotation.db")
    else:
        url = request.getfixturevalue("migrated_postgres_url")
    return settings_for(url, folder_store(tmp_path / "blobs"))


@pytest.fixture(
    params=["sqlite and a folder", pytest.param("postgres and minio", marks=pytest.mark.real_server("minio"))]
)
def deployed_settings(request: pytest.FixtureRequest, tmp_path: Path) -> AnnotationSettings:
    """The settings of a laptop, and those of a cluster."""
    if request.param == "sqlite and a folder":
        return settings_for(
            databases.sqlite_url("annotation", tmp_path / "annotation.db"), folder_store(tmp_path / "blobs")
        )
    minio, bucket = request.getfixturevalue("minio"), request.getfixturevalue("bucket")
    return settings_for(request.getfixturevalue("migrated_postgres_url"), bucket_store(minio, bucket))


@pytest.fixture
async def server(settings: AnnotationSettings) -> AsyncIterator[Server]:
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def both(both_settings: AnnotationSettings) -> AsyncIterator[Server]:
    """A server on each of the databases."""
    async with serving(both_settings) as running:
        yield running


@pytest.fixture
async def project(server: Server) -> Project:
    return await server.project()
