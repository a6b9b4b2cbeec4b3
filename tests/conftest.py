"""Fixtures that start the real servers, lazily and once a session, and find the real data.

Nothing here imports what only one of the two environments has before a test asks for it.
"""

import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from real_parts.disk import Filler, mount_small_disk
from real_parts.helm import ensure_helm
from real_parts.minio import MinioServer, ensure_minio, run_minio
from real_parts.postgres import PostgresServer, run_postgres
from real_parts.prometheus import ensure_prometheus
from real_parts.triton import TritonServer, ensure_triton, run_triton

ROOT = Path(__file__).resolve().parent.parent
SERVERS = {"postgres_server", "minio", "triton"}

# Thousands of tests are made that all stay: to look through them again and again takes a third of that time.
gc.disable()

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("no deadline", settings(), deadline=None)
settings.load_profile("no deadline")


def pytest_configure() -> None:
    """Let an interrupt be one: a shell lets what runs in its background ignore it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a server, so that `make test-fast` can leave them out, and let the longest begin."""
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("real_server")
    # Beside the many that wait for something; at the end they would run alone.
    items.sort(key=lambda item: item.path.parent.name != "imports" and not item.get_closest_marker("real_training"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install the servers that the selected tests need before the first test's clock runs."""
    gc.enable()
    gc.collect()
    gc.freeze()
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    # What a parameter needs, nobody names as a fixture.
    wanted |= {name for item in session.items for mark in item.iter_markers("real_server") for name in mark.args}
    with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            if "helm" in wanted:
                ensure_helm()
            if "promtool" in wanted:
                ensure_prometheus()
            if "minio" in wanted:
                ensure_minio()
            if "triton" in wanted:
                ensure_triton()
        except SystemExit as missing:
            pytest.exit(str(missing), returncode=1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Return a running PostgreSQL without databases of its own."""
    with run_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
async def postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """Return the SQLAlchemy URL of an empty database of the test's own."""
    import asyncpg

    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_server.url("postgres", driver="postgresql"))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield postgres_server.url(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """Return a running MinIO."""
    with run_minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def bucket(minio: MinioServer) -> str:
    """Return the name of an empty bucket of the test's own."""
    from minio import Minio

    name = f"test-{uuid4().hex}"
    client = Minio(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
    client.make_bucket(name)
    return name


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Return a running Triton that loads what it is told to from its `repository`."""
    with run_triton(tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="session")
def helm() -> Path:
    """Return the program that renders and installs charts."""
    return ensure_helm() / "helm"


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Return the program that checks and tries rules; the server lies beside it."""
    return ensure_prometheus() / "promtool"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder with the real data sets and weights that are too large for the repository; CI must have it."""
    if folder := os.environ.get("BLOOMERY_TEST_DATA"):
        return Path(folder)
    reason = "BLOOMERY_TEST_DATA does not name the folder with the real data: CONTRIBUTING.md says what is in it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def examples_dir() -> Path:
    """Return the folder with the sample that the repository carries."""
    return ROOT / "examples"


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """Return the interpreter of the environment with torch, which trains and exports."""
    python = ROOT / ".venv-worker/bin/python"
    if not python.exists():
        pytest.fail(f"{python} is missing: run `make setup`")
    return python


@pytest.fixture
def disk_mebibytes() -> int:
    """Return the size of the small disk; tests that need more room override it."""
    return 8


@pytest.fixture
def small_disk(tmp_path: Path, disk_mebibytes: int) -> Iterator[Path]:
    """Return a folder on a small file system of its own; CI must be allowed to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with ExitStack() as stack:
        try:
            stack.enter_context(mount_small_disk(folder, mebibytes=disk_mebibytes))
        except PermissionError as error:
            reason = f"a small file system could not be mounted: {error}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        yield folder


@pytest.fixture
def filler(small_disk: Path) -> Filler:
    """Return what fills the small disk to the last byte and frees it again."""
    return Filler(small_disk / "filler")
