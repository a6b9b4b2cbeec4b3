"""An embedded installation moved into PostgreSQL and a bucket, and what the services over them answer then."""

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from minio import Minio
from PIL import Image
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from bloomery import AsyncClient
from bloomery.access.v1 import AccessServiceStub, IssueTokenRequest
from bloomery.annotation.v1 import AnnotationServiceStub, CreateProjectRequest, ListAssetsRequest
from bloomery.common.v1 import ROLE_VIEWER
from bloomery.errors import BloomeryError
from bloomery.vision.v1 import Box, Shape
from bloomery_kit import errors
from bloomery_kit.clients import channel
from bloomery_kit.settings import S3StoreSettings
from bloomery_server.folder import DataFolder
from bloomery_server.migrate import rows
from bloomery_server.migrate.failures import as_told
from bloomery_server.migrate.folder import revisions
from bloomery_server.migrate.parts import PARTS
from bloomery_server.migrate.report import Report
from bloomery_server.migrate.run import Wish, run
from bloomery_server.migrate.settings import MigrationSettings
from bloomery_server.migrate.target import Target
from real_parts.minio import MinioServer
from real_parts.postgres import PostgresServer
from tests.server.conftest import embedded
from tests.server.crawl import everything
from tests.server.separate import TOKEN, separate

pytestmark = pytest.mark.timeout(300)
PAGE = ListAssetsRequest(parent="projects/cats", page_size=2)


@dataclass(frozen=True)
class Source:
    """A stopped installation: its folder, and all that it answered."""

    folder: Path
    answers: dict[tuple[str, str], Any]
    page_token: str
    next_page: list[str]
    project_uid: str
    secret: str


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Made through the product, once; whoever changes it takes a copy."""
    folder = tmp_path_factory.mktemp("source") / "data"
    # In a thread, because whoever asks may be inside an event loop.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _make(folder)).result()


async def _make(folder: Path) -> Source:
    pictures = folder.parent / "pictures"
    (pictures / "images").mkdir(parents=True)
    (pictures / "labels").mkdir()
    (pictures / "data.yaml").write_text("names: [Katze 🐈, Big dog]\ntrain: images\n")
    for number in range(8):
        Image.new("RGB", (64, 48), (number, 99, 200)).save(pictures / f"images/{number}.png")
        (pictures / f"labels/{number}.txt").write_text(f"{number % 2} .5 .5 .25 .25\n")
    async with embedded(folder) as server:
        endpoint, token = f"127.0.0.1:{server._identity.port}", server._identity.token
        async with AsyncClient(endpoint, token=token) as client:
            gone = await client.create_project("gone")
            await gone.delete()
            project = await client.create_project("cats", display_name="Füße 猫")
            await project.import_folder(pictures)
            async for asset in project.assets():
                await asset.save_annotations([Shape(label="big-dog", box=Box(x=1, y=2, width=3, height=4))])
                await asset.update(split="val")
                break
            version = await (await project.build_dataset("cats-v", split="60/20/20")).wait()
            await version.export("coco", folder.parent / "exported")
        async with channel(endpoint, token=token) as on:
            annotations = AnnotationServiceStub(on)
            page = await annotations.ListAssets(PAGE)
            following = ListAssetsRequest(parent=PAGE.parent, page_size=2, page_token=page.next_page_token)
            second = await annotations.ListAssets(following)
            issued = await AccessServiceStub(on).IssueToken(
                IssueTokenRequest(display_name="a script", role=ROLE_VIEWER)
            )
            answers = await everything(on, token)
    names = [asset.name for asset in second.assets]
    return Source(folder, answers, page.next_page_token, names, project.proto.uid, issued.secret)


@pytest.fixture
def copy(source: Source, tmp_path: Path) -> Path:
    """A copy of the folder, for whoever changes it."""
    return Path(shutil.copytree(source.folder, tmp_path / "copy"))


@pytest.fixture
async def settings(postgres_server: PostgresServer, store: S3StoreSettings) -> AsyncIterator[MigrationSettings]:
    """An installation in which nothing was made yet; its tables are copied, as to migrate them takes longer."""
    connection = await asyncpg.connect(postgres_server.url("postgres", driver="postgresql"))
    name = f"test_{uuid4().hex}"
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'template_every'"):
            await connection.execute("CREATE DATABASE template_every")
            async with Target.open(postgres_server.url("template_every")) as target:
                await target.prepare()
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template_every")
        yield MigrationSettings(database_url=postgres_server.url(name), object_store=store)
    finally:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()


@pytest.fixture
def store(minio: MinioServer, bucket: str) -> S3StoreSettings:
    """An empty bucket."""
    endpoint = f"http://{minio.endpoint}"
    return S3StoreSettings(
        endpoint=endpoint,
        public_endpoint=endpoint,
        bucket=bucket,
        access_key=SecretStr(minio.access_key),
        secret_key=SecretStr(minio.secret_key),
    )


async def moved(folder: Path, settings: MigrationSettings, **wish: bool) -> Report:
    return await run(folder, settings, Wish(**wish), tell=lambda _text: None)


async def refused(folder: Path, settings: MigrationSettings, **wish: bool) -> BloomeryError:
    with pytest.raises(BloomeryError) as caught:
        await moved(folder, settings, **wish)
    assert caught.value.hint
    return caught.value


def change(folder: Path, service: str, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / f"{service}.db")) as database, database:
        database.execute(statement, values)


async def test_all_services_answer_as_before(
    source: Source, postgres_url: str, store: S3StoreSettings, tmp_path: Path
) -> None:
    settings = MigrationSettings(database_url=postgres_url, object_store=store)
    report = await moved(source.folder, settings)
    assert (report.state, report.differences, report.missing, report.damaged) == ("COMPLETE", [], [], [])
    assert report.tables["annotation.assets"].rows == 9
    async with (
        separate(tmp_path, settings.database_url, settings.object_store) as there,
        channel(there.endpoint, token=TOKEN) as on,
    ):
        answers = await everything(on, TOKEN)
        different = [
            key for key in source.answers.keys() | answers.keys() if source.answers.get(key) != answers.get(key)
        ]
        assert not different
        # Pages go on where they were.
        following = ListAssetsRequest(parent=PAGE.parent, page_size=2, page_token=source.page_token)
        found = await AnnotationServiceStub(on).ListAssets(following)
        assert [asset.name for asset in found.assets] == source.next_page
        # So do tokens of people.
        async with AsyncClient(there.endpoint, token=source.secret) as reader:
            assert (await reader.project("cats")).proto.uid == source.project_uid
        # And so do the numbers.
        async with AsyncClient(there.endpoint, token=TOKEN) as client:
            project = await client.project("cats")
            version = await (await project.build_dataset("cats-v", split="80/10/10")).wait()
            assert version.name == "projects/cats/datasets/cats-v/versions/2"
            async for asset in project.assets():
                kept = await asset.download(tmp_path / "image")
                assert kept.stat().st_size == asset.proto.size_bytes


def test_no_database_of_a_folder_is_forgotten(source: Source) -> None:
    assert {path.stem for path in source.folder.glob("*.db")} == {part.service for part in PARTS}


async def test_a_dry_run_says_what_would_go_and_writes_nothing(
    source: Source, settings: MigrationSettings, minio: MinioServer
) -> None:
    report = await moved(source.folder, settings, dry_run=True)
    assert (report.state, report.obstacles) == ("DRY_RUN", [])
    assert report.files >= 8
    async with Target.open(settings.database_url) as target:
        assert await target.run() is None
        assert await target.filled() == []


async def test_a_run_that_was_cut_off_anywhere_is_gone_on_with(
    source: Source, settings: MigrationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_BATCH_ROWS", 3)
    steps = [0]
    append = Target.append

    async def cut_off(self: Target, *given: Any, **named: Any) -> None:
        steps[0] += 1
        if steps[0] % 9 == 0:
            raise ConnectionResetError
        await append(self, *given, **named)
        if steps[0] % 11 == 0:
            raise ConnectionResetError

    monkeypatch.setattr(Target, "append", cut_off)
    tries = 0
    while True:
        tries += 1
        try:
            report = await moved(source.folder, settings)
            break
        except ConnectionResetError:
            continue
    assert tries > 4
    assert (report.state, report.differences) == ("COMPLETE", [])
    assert (await moved(source.folder, settings)).notes[-1].startswith("this folder was moved here")
    verified = await moved(source.folder, settings, verify_only=True)
    assert (verified.state, verified.differences) == ("COMPLETE", [])


async def test_a_killed_run_is_gone_on_with(source: Source, settings: MigrationSettings) -> None:
    with await asyncio.to_thread(_begin, source.folder, settings) as process:
        process.send_signal(signal.SIGKILL)
    report = await moved(source.folder, settings)
    assert (report.state, report.differences) == ("COMPLETE", [])


def _begin(folder: Path, settings: MigrationSettings) -> "subprocess.Popen[str]":
    store = settings.object_store
    assert store.access_key is not None
    assert store.secret_key is not None
    environment = {
        "BLOOMERY_DATABASE_URL": settings.database_url,
        "BLOOMERY_OBJECT_STORE__KIND": "s3",
        "BLOOMERY_OBJECT_STORE__ENDPOINT": store.endpoint,
        "BLOOMERY_OBJECT_STORE__BUCKET": store.bucket,
        "BLOOMERY_OBJECT_STORE__ACCESS_KEY": store.access_key.get_secret_value(),
        "BLOOMERY_OBJECT_STORE__SECRET_KEY": store.secret_key.get_secret_value(),
    }
    command = [str(Path(sys.executable).parent / "bloomery"), "migrate", "--from", str(folder)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("dataset."):
            break
    return process


async def test_a_folder_that_was_used_meanwhile_is_copied_anew(
    copy: Path, settings: MigrationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_space(_self: Target) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(Target, "settle_sequences", no_space)
        with pytest.raises(ConnectionResetError):
            await moved(copy, settings)
    async with (
        embedded(copy) as server,
        AsyncClient(f"127.0.0.1:{server._identity.port}", token=server._identity.token) as client,
    ):
        await client.create_project("later")
    report = await moved(copy, settings)
    assert (report.state, report.tables["annotation.projects"].rows) == ("COMPLETE", 2)


async def test_what_stands_in_the_way_is_said_before_anything_is_written(
    copy: Path, settings: MigrationSettings
) -> None:
    change(copy, "annotation", "UPDATE projects SET display_name = 'a' || char(0)")
    change(copy, "annotation", "UPDATE assets SET width = ? WHERE id = (SELECT min(id) FROM assets)", 1 << 31)
    change(copy, "inference", "UPDATE alembic_version SET version_num = '9999'")
    report = await moved(copy, settings, dry_run=True)
    assert "of a newer version" in report.obstacles[0].message
    change(copy, "inference", "UPDATE alembic_version SET version_num = ?", head("inference"))
    report = await moved(copy, settings, dry_run=True)
    told = [one.message for one in report.obstacles]
    assert any("annotation.projects, row cats: column display_name has a NUL character" in text for text in told)
    assert any("column width is 2147483648, which 32 bits do not hold" in text for text in told)
    error = await refused(copy, settings)
    assert error.reason == "CANNOT_MIGRATE"
    async with Target.open(settings.database_url) as target:
        assert await target.run() is None


def head(service: str) -> str:
    (part,) = (part for part in PARTS if part.service == service)
    newest, _known = revisions(part)
    assert newest
    return newest


async def test_an_older_folder_is_brought_up_to_date_first(copy: Path, settings: MigrationSettings) -> None:
    change(copy, "trainer", "UPDATE alembic_version SET version_num = '0001'")
    (obstacle,) = (await moved(copy, settings, dry_run=True)).obstacles
    assert "of an older version" in obstacle.message
    assert "bloomery up" in obstacle.hint


async def test_missing_and_damaged_files_are_listed_and_left_behind_on_demand(
    source: Source, copy: Path, settings: MigrationSettings, minio: MinioServer
) -> None:
    images = sorted(path for path in (copy / "blobs" / source.project_uid).iterdir() if path.is_file())
    images[0].unlink()
    images[1].write_bytes(b"other bytes")
    keys = [path.relative_to(copy / "blobs").as_posix() for path in images]
    report = await moved(copy, settings, dry_run=True)
    assert (report.missing, report.damaged) == ([keys[0]], [keys[1]])
    error = await refused(copy, settings)
    assert (error.reason, keys[0] in error.message) == ("FILES_MISSING", True)
    report = await moved(copy, settings, allow_missing=True)
    assert (report.state, report.missing, report.damaged) == ("COMPLETE", [keys[0]], [keys[1]])
    client = Minio(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
    there = {entry.object_name for entry in client.list_objects(settings.object_store.bucket, recursive=True)}
    assert not there & set(keys[:2])
    assert keys[2] in there


async def test_a_damaged_table_is_no_traceback(copy: Path, settings: MigrationSettings) -> None:
    file = copy / "annotation.db"
    content = bytearray(file.read_bytes())
    content[8192:40960] = bytes(32768)
    file.write_bytes(content)
    assert (await refused(copy, settings)).reason == "DATABASE_CORRUPT"


async def test_a_running_server_is_not_copied(copy: Path, settings: MigrationSettings) -> None:
    lock = DataFolder.open(copy)
    try:
        assert (await refused(copy, settings)).reason == "FOLDER_IN_USE"
    finally:
        lock.close()


@pytest.fixture
def worker(copy: Path) -> Iterator[str]:
    """The uid of a job in the folder whose worker runs: a process that is written down as one."""
    folder = copy / "jobs" / "0a1b" / "1"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        (folder / "process").write_text(boot + Path(f"/proc/{process.pid}/stat").read_text())
        yield "0a1b"
        process.kill()


async def test_a_worker_that_still_runs_is_named(copy: Path, worker: str, settings: MigrationSettings) -> None:
    error = await refused(copy, settings)
    assert (error.reason, error.message) == ("CANNOT_MIGRATE", f"the worker of job {worker} still runs")
    assert "--stop-jobs" in error.hint


async def test_a_role_that_may_not_is_told_what_it_needs(
    source: Source, settings: MigrationSettings, postgres_server: PostgresServer
) -> None:
    async with Target.open(settings.database_url) as target, target.db.write() as tx:
        await tx.exec_driver_sql("DROP SCHEMA annotation CASCADE")
        await tx.exec_driver_sql("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    url = sa.make_url(settings.database_url).set(username="guest").render_as_string(hide_password=False)
    with pytest.raises(DBAPIError) as caught:
        await moved(source.folder, settings.model_copy(update={"database_url": url}))
    assert as_told(caught.value).reason == "DATABASE_REFUSED"


async def test_no_folder_is_said_to_be_none(tmp_path: Path, settings: MigrationSettings) -> None:
    assert (await refused(tmp_path, settings)).reason == "NO_FOLDER"
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


async def test_what_was_never_moved_cannot_be_compared(source: Source, settings: MigrationSettings) -> None:
    error = await refused(source.folder, settings, verify_only=True)
    assert (error.reason, "nothing was moved" in error.message) == ("CANNOT_MIGRATE", True)


async def test_an_installation_with_something_in_it_is_left_alone(
    source: Source, settings: MigrationSettings, tmp_path: Path
) -> None:
    async with separate(tmp_path, settings.database_url, settings.object_store) as there:
        async with channel(there.endpoint, token=TOKEN) as on:
            await AnnotationServiceStub(on).CreateProject(CreateProjectRequest(project_id="mine"))
        error = await refused(source.folder, settings)
        assert (error.reason, "annotation.projects" in error.message) == ("TARGET_NOT_EMPTY", True)


async def test_services_that_have_only_been_started_are_no_hindrance_once_they_are_gone(
    source: Source, settings: MigrationSettings, tmp_path: Path
) -> None:
    async with separate(tmp_path, settings.database_url, settings.object_store):
        error = await refused(source.folder, settings)
        assert (error.reason, "others are connected" in error.message) == ("CANNOT_MIGRATE", True)
    assert (await moved(source.folder, settings)).state == "COMPLETE"


async def test_one_folder_a_database(source: Source, copy: Path, settings: MigrationSettings) -> None:
    await moved(source.folder, settings)
    identity = json.loads((copy / "identity.json").read_text())
    (copy / "identity.json").write_text(json.dumps(identity | {"signing_key": "0" * 64}))
    assert (await refused(copy, settings)).reason == "TARGET_NOT_EMPTY"


async def test_what_services_write_afterwards_is_a_difference(source: Source, settings: MigrationSettings) -> None:
    await moved(source.folder, settings)
    async with Target.open(settings.database_url) as target, target.db.write() as tx:
        await tx.exec_driver_sql("UPDATE annotation.projects SET display_name = 'other'")
        await tx.exec_driver_sql("DELETE FROM annotation.set_labels")
    report = await moved(source.folder, settings, verify_only=True)
    assert report.state == "DIFFERENT"
    assert [text.partition(":")[0] for text in report.differences] == ["annotation.projects", "annotation.set_labels"]


async def test_wrong_credentials_are_said_to_be_wrong(source: Source, settings: MigrationSettings) -> None:
    store = settings.object_store.model_copy(update={"secret_key": SecretStr("wrong")})
    with pytest.raises(errors.BloomeryError) as caught:
        await moved(source.folder, settings.model_copy(update={"object_store": store}))
    told = as_told(caught.value)
    assert (told.reason, "SECRET_KEY" in told.hint) == ("OBJECT_STORE_DENIED", True)
