"""A model and a paused training of `bloomery up`, moved into PostgreSQL and a bucket, and gone on with there."""

import asyncio
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from bloomery import AsyncClient, Client, Job, ModelVersion
from bloomery_kit.settings import S3StoreSettings
from bloomery_server.migrate.run import Wish, run
from bloomery_server.migrate.settings import MigrationSettings
from real_parts.minio import MinioServer
from tests.flow.conftest import Server
from tests.server.separate import TOKEN, separate

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
SMALL: Mapping[str, int | str] = {"imgsz": 64, "batch": 8, "export": "none", "patience": 0}


def paused_training(client: Client) -> tuple[Job, int]:
    """A job that was paused behind its first checkpoint, and the sequence of the last event that was seen of it."""
    version = client.dataset_version("projects/trained/datasets/cells-v/versions/1")
    job = version.train("yolo-detect", base="scratch", model="moved", settings={"epochs": 200, **SMALL})
    seen = 0
    for event in job.watch():
        seen = event.proto.sequence
        if event.kind == "checkpoint" and job.state == "RUNNING":
            job.pause()
        elif job.state == "PAUSED":
            break
    return job.refresh(), seen


def stopped_copy(folder: Path, to: Path) -> Path:
    """The data folder as if its server had been stopped now: nothing is under way in it."""
    to.mkdir()
    shutil.copyfile(folder / "identity.json", to / "identity.json")
    shutil.copytree(folder / "blobs", to / "blobs")
    for file in folder.glob("*.db"):
        with closing(sqlite3.connect(file)) as origin, closing(sqlite3.connect(to / file.name)) as copy:
            origin.backup(copy)
    return to


async def test_a_model_answers_the_same_and_a_training_goes_on(
    server: Server,
    client: Client,
    trained: ModelVersion,
    postgres_url: str,
    minio: MinioServer,
    bucket: str,
    tmp_path: Path,
    examples_dir: Path,
) -> None:
    paused, seen = await asyncio.to_thread(paused_training, client)
    epoch = paused.proto.progress.epoch
    image = min((examples_dir / "blood-cells/JPEGImages").iterdir())
    before = await asyncio.to_thread(lambda: trained.predict(image, threshold=0.0, max_shapes=5))
    folder = await asyncio.to_thread(stopped_copy, server.folder, tmp_path / "data")
    endpoint = f"http://{minio.endpoint}"
    store = S3StoreSettings(
        endpoint=endpoint,
        public_endpoint=endpoint,
        bucket=bucket,
        access_key=SecretStr(minio.access_key),
        secret_key=SecretStr(minio.secret_key),
    )
    settings = MigrationSettings(database_url=postgres_url, object_store=store)
    report = await run(folder, settings, Wish(), tell=lambda _text: None)
    assert (report.state, report.differences) == ("COMPLETE", [])
    assert any("recipes/yolo-detect" in note for note in report.notes)
    async with (
        separate(tmp_path / "there", postgres_url, store) as there,
        AsyncClient(there.endpoint, token=TOKEN) as moved,
    ):
        version = await moved.model_version(trained.name)
        after = await version.predict(image, threshold=0.0, max_shapes=5)
        assert list(after.shapes) == list(before.shapes)
        job = await moved.job(paused.name)
        assert job.proto == paused.proto
        await job.resume()
        saved = 0
        async for event in job.watch(after=seen):
            assert event.proto.sequence > seen
            if event.kind == "checkpoint" and not saved:
                saved = event.proto.checkpoint.epoch
                await job.cancel()
        assert saved > epoch
        assert (job.state, job.proto.attempt) == ("CANCELLED", 2)
