"""Both databases and both object stores behind one name each, and a server to call."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData

from bloomery_kit.audit import audit_table
from bloomery_kit.database import Database
from bloomery_kit.idempotency import idempotency_table
from bloomery_kit.leases import lease_table
from bloomery_kit.objects import FolderObjectStore, ObjectStore, S3ObjectStore
from bloomery_kit.sequences import sequence_table
from bloomery_kit.settings import S3StoreSettings
from real_parts.minio import MinioServer
from tests import databases
from tests.kit.echo import EchoHost, running_host


@pytest.fixture(params=databases.BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/kit.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def empty_db(database_url: str) -> AsyncIterator[Database]:
    db = Database.connect(database_url, "kit")
    yield db
    await db.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    db = Database.connect(database_url)
    metadata = MetaData()
    sequence_table(metadata)
    idempotency_table(metadata)
    lease_table(metadata)
    audit_table(metadata)
    async with db.write() as tx:
        await tx.run_sync(metadata.create_all)
    yield db
    await db.close()


@pytest.fixture
def bucket_store(minio: MinioServer, bucket: str) -> S3ObjectStore:
    endpoint = f"http://{minio.endpoint}"
    settings = S3StoreSettings(
        endpoint=endpoint,
        public_endpoint=endpoint,
        bucket=bucket,
        access_key=SecretStr(minio.access_key),
        secret_key=SecretStr(minio.secret_key),
    )
    return S3ObjectStore(settings)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.real_server("minio"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        store: S3ObjectStore = request.getfixturevalue("bucket_store")
        return store
    return FolderObjectStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=b"k" * 32)


@pytest.fixture
async def echo() -> AsyncIterator[EchoHost]:
    async with running_host() as host:
        yield host
