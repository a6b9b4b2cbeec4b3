"""The service on SQLite, on PostgreSQL where transactions matter, and on MinIO for one run through everything."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bloomery.annotation.v1 import Project
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.settings import AnnotationSettings
from real_parts.postgres import PostgresServer
from tests import databases
from tests.annotation import sharing
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


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a large folder whose label files are read in a sample only: the rest of the labels comes with them."""
    monkeypatch.setattr(import_run, "BATCH", 5)
    monkeypatch.setattr(import_run, "listed", lambda _plan: [])


@pytest.fixture
def replicated(migrated_postgres_url: str, tmp_path: Path, small_parts: None) -> AnnotationSettings:
    """The settings of replicas that share the imports of `sharing`."""
    settings = settings_for(migrated_postgres_url, folder_store(tmp_path / "blobs"))
    return settings.model_copy(update={"import_lease_seconds": 3600, "import_poll_seconds": 0.05})


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> sharing.Readers:
    """Who reads which parts of shared imports."""
    found = sharing.Readers()
    monkeypatch.setattr(Turns, "take", lambda turns, *, ahead: found.take(turns, ahead=ahead))
    return found


@pytest.fixture(scope="session")
def made() -> dict[str, Any]:
    return {}


@pytest.fixture
async def wanted(made: dict[str, Any], settings: AnnotationSettings, small_parts: None) -> dict[str, Any]:
    """What one replica makes of the import of `sharing`, each time."""
    if not made:
        async with serving(settings) as server:
            made |= await sharing.made_by_one(server)
    return made
