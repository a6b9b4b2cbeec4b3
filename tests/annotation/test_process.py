"""The service as a process of its own, which is asked to leave, or killed."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from pydantic import SecretStr

from bloomery.annotation.v1 import (
    AnnotationServiceStub,
    BlobContent,
    BlobInfo,
    CreateImportRequest,
    CreateProjectRequest,
    Import,
    ImportFile,
    PrepareUploadsRequest,
    UploadBlobsRequest,
    WatchImportRequest,
)
from bloomery_annotation.app import SERVICE
from bloomery_annotation.contents import Contents
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.clients import channel
from bloomery_kit.database import Database
from bloomery_kit.objects import open_object_store
from real_parts.process import free_port
from tests.annotation.folders import counts, voc_folder
from tests.annotation.helpers import OWNER, digest_of
from tests.faults.processes import Server, answers


class Process:
    """The service on some settings."""

    def __init__(self, settings: AnnotationSettings, folder: Path) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        environment = {**os.environ, **variables(settings), "BLOOMERY_BIND": "127.0.0.1", "BLOOMERY_PORT": str(port)}
        command = [sys.executable, "-m", "bloomery_annotation"]
        self.server = Server(command, environment, folder / "process.log", lambda: answers(self.address))

    @asynccontextmanager
    async def killed_at_the_end(self) -> AsyncIterator[Any]:
        """A client of the process, which runs until the block ends, and then not a moment longer."""
        self.server.start()
        async with channel(self.address, token=OWNER) as opened:
            await opened.channel_ready()
            yield AnnotationServiceStub(opened)
            self.server.kill()


def variables(settings: AnnotationSettings) -> dict[str, str]:
    """The environment that the settings are read from."""
    fields = settings.model_dump(include={"database_url", "token", "reserved_bytes"}) | {
        "import_lease_seconds": settings.import_lease_seconds,
        "import_poll_seconds": settings.import_poll_seconds,
    }
    store = {f"object_store__{name}": value for name, value in settings.object_store.model_dump().items()}
    return {f"BLOOMERY_{name.upper()}": _text(value) for name, value in (fields | store).items() if value is not None}


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@pytest.fixture
def process(deployed_settings: AnnotationSettings, tmp_path: Path) -> Iterator[Process]:
    # What it had taken when it was killed waits for so long.
    started = Process(deployed_settings.model_copy(update={"import_lease_seconds": 1}), tmp_path)
    yield started
    started.server.end()


def test_the_process_serves_and_leaves_on_a_signal(process: Process) -> None:
    process.server.start()
    with grpc.insecure_channel(process.address) as opened:
        check = opened.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        answer = check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    os.kill(process.server.pid, signal.SIGTERM)
    assert process.server.wait(30) == 0


async def test_what_a_process_acknowledged_is_there_after_it_was_killed(
    process: Process, deployed_settings: AnnotationSettings
) -> None:
    files = voc_folder(5)
    blobs = [BlobContent(digest=digest_of(content), content=content) for content in files.values()]
    listed = [ImportFile(path=path, digest=digest_of(content)) for path, content in files.items()]
    async with process.killed_at_the_end() as stub:
        project = await stub.CreateProject(CreateProjectRequest(project_id="p"))
        answer = await stub.UploadBlobs(UploadBlobsRequest(parent=project.name, blobs=blobs))
    assert not any(result.status.code for result in answer.results)
    db = Database.connect(deployed_settings.database_url, "annotation")
    contents = Contents(db, open_object_store(deployed_settings.object_store))
    assert await contents.get_all(project.uid, [blob.digest for blob in blobs]) == {
        blob.digest: blob.content for blob in blobs
    }
    await db.close()
    async with process.killed_at_the_end() as stub:
        infos = [BlobInfo(digest=blob.digest, size_bytes=len(blob.content)) for blob in blobs]
        prepared = await stub.PrepareUploads(PrepareUploadsRequest(parent=project.name, blobs=infos))
        assert not prepared.missing
        request = CreateImportRequest(parent=project.name, **{"import": Import(files=listed)})  # type: ignore[arg-type]
        begun = await stub.CreateImport(request)
    async with process.killed_at_the_end() as stub:
        states = [state async for state in stub.WatchImport(WatchImportRequest(name=begun.name))]
    assert (states[-1].state, *counts(states[-1])) == (Import.STATE_SUCCEEDED, 5, 5, 0, 0)
