"""Requests that nobody means to every service at once: each gets an answer or a reason, and nothing is logged."""

import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from bloomery import AsyncClient
from bloomery_server.embedded import EmbeddedServer
from tests.nonsense import Memory
from tests.questions import questions
from tests.server.conftest import embedded

REQUESTS = 400


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedServer]:
    """One whose jobs start nothing."""
    monkeypatch.setenv("BLOOMERY_LAUNCHER__WORKER_PYTHON", "/bin/false")
    async with embedded(tmp_path / "data") as server:
        yield server


async def test_random_requests_to_all_services_never_cause_an_internal_error(
    server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, workers = (f"127.0.0.1:{host.port}" for host in (server._host, server._worker_host))
    token = server._identity.token
    await filled(target, token, tmp_path / "pictures")
    async with grpc.aio.insecure_channel(target) as people, grpc.aio.insecure_channel(workers) as worker:
        asking = await questions(people, worker, token, Memory(random.Random(5)))
        await asking.look_around()
        await asking.play(REQUESTS)
    assert asking.asked.problems == []
    assert asking.asked.answers.total() >= REQUESTS
    assert {method.containing_service.name for method in asking.methods} == {
        "AccessService",
        "AnnotationService",
        "AuditService",
        "DatasetService",
        "DeploymentService",
        "JobService",
        "ModelService",
        "PredictionService",
        "QuotaService",
        "ServingService",
        "WorkerService",
    }
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def filled(target: str, token: str, folder: Path) -> None:
    """Something to mean."""
    for number in range(3):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (number, 99, 200)).save(folder / f"images/{number}.png")
        (folder / "labels").mkdir(exist_ok=True)
        (folder / f"labels/{number}.txt").write_text("0 .5 .5 .25 .25\n")
    (folder / "data.yaml").write_text("names: [cat]\ntrain: images\n")
    async with AsyncClient(target, token=token) as client:
        project = await client.create_project("cats")
        await project.import_folder(folder)
        await (await project.build_dataset("cats-v", split="60/20/20")).wait()
