"""What a worker says where it does not trust the trainer's certificate, and that it does where it should."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import grpc.aio
import pytest

from bloomery.training.v1 import StartAttemptRequest, add_WorkerServiceServicer_to_server
from bloomery_worker import client
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import TrustError, classify
from bloomery_worker.retrying import again
from bloomery_worker.settings import WorkerSettings
from bloomery_worker.supervisor import supervise
from tests.worker.fake_trainer import TOKEN
from tests.worker.harness import scripted_trainer
from tests.worker.sample_data import Version

REQUEST = StartAttemptRequest(token=TOKEN)


def issue(folder: Path, name: str, host: str = "IP:127.0.0.1") -> tuple[bytes, bytes]:
    """A key and a certificate of its own authority."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=trainer", "-addext", f"subjectAltName={host}", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key.read_bytes(), certificate.read_bytes()


@pytest.fixture
async def server(cells: Version) -> AsyncIterator[grpc.aio.Server]:
    """A trainer whose port the test opens."""
    server, trainer = grpc.aio.server(), scripted_trainer(cells, epochs=1)
    # Nothing of it is fetched here, so that nobody serves it.
    trainer.manifest = None
    add_WorkerServiceServicer_to_server(trainer, server)
    yield server
    await server.stop(0)


def written(folder: Path, roots: bytes) -> Path:
    file = folder / "roots.crt"
    file.write_bytes(roots)
    return file


async def begin(port: int, folder: Path, roots: bytes) -> None:
    worker = WorkerClient(f"127.0.0.1:{port}", root_certificates=written(folder, roots))
    try:
        await worker.start(REQUEST)
    finally:
        await worker.close()


async def test_a_certificate_of_the_authority_that_is_given_is_trusted(server: grpc.aio.Server, tmp_path: Path) -> None:
    pair = issue(tmp_path, "trainer")
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    await begin(port, tmp_path, pair[1])


@pytest.mark.parametrize("wrong", ["authority", "host", "file", "plain"])
async def test_whoever_is_not_trusted_is_told_and_is_worth_another_attempt(
    server: grpc.aio.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(client, "_DISTRUST_SECONDS", 0.2)
    pair = issue(tmp_path, "trainer", "DNS:elsewhere.example" if wrong == "host" else "IP:127.0.0.1")
    roots = {"authority": issue(tmp_path, "another")[1], "file": b"a letter"}.get(wrong, pair[1])
    told = {
        "authority": "CERTIFICATE_VERIFY_FAILED",
        "host": "Hostname",
        "file": "handshaker",
        "plain": "WRONG_VERSION",
    }
    credentials = grpc.ssl_server_credentials([pair])
    bind = server.add_insecure_port if wrong == "plain" else lambda at: server.add_secure_port(at, credentials)
    port = bind("127.0.0.1:0")
    await server.start()
    with pytest.raises(TrustError, match=told[wrong]) as refused:
        await begin(port, tmp_path, roots)
    reason = classify(refused.value)
    assert (reason.code, reason.retriable) == ("WORKER_LOST", True)
    assert "BLOOMERY_TRAINER_CA" in reason.hint


async def test_a_certificate_that_is_being_replaced_costs_no_attempt(
    server: grpc.aio.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls are answered by the handshakes that fail meanwhile."""
    monkeypatch.setattr(client, "again", partial(again, sleep=lambda seconds: asyncio.sleep(seconds / 20)))
    monkeypatch.setattr(client, "_OPTIONS", [(f"grpc.{one}_reconnect_backoff_ms", 100) for one in ("initial", "max")])
    old, new = (issue(tmp_path, name) for name in ("old", "new"))
    certificates = iter([old] * 4)

    def current() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([next(certificates, new)])

    credentials = grpc.dynamic_ssl_server_credentials(current(), current)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    await begin(port, tmp_path, new[1])


async def test_an_authority_is_exchanged_while_an_attempt_goes_on(server: grpc.aio.Server, tmp_path: Path) -> None:
    old, new = (issue(tmp_path, name) for name in ("old", "new"))
    served = [old]

    def current() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(served)

    port = server.add_secure_port("127.0.0.1:0", grpc.dynamic_ssl_server_credentials(current(), current))
    await server.start()
    roots = written(tmp_path, old[1])
    worker = WorkerClient(f"127.0.0.1:{port}", root_certificates=roots)
    await worker.start(REQUEST)
    served[:] = [new]
    await worker.report(1, [], phase="training", stalled=False)
    written(tmp_path, new[1])
    await worker.report(1, [], phase="training", stalled=False)
    roots.unlink()
    await worker.report(1, [], phase="training", stalled=False)
    await worker.close()


async def test_a_file_of_certificates_that_is_missing_is_told(tmp_path: Path) -> None:
    settings = WorkerSettings(
        target="127.0.0.1:1",
        token=TOKEN,
        work_dir=tmp_path,
        cache_dir=tmp_path,
        termination_file=tmp_path / "termination.json",
        root_certificates=tmp_path / "missing.crt",
    )
    with pytest.raises(TrustError, match=r"missing\.crt"):
        await supervise(settings)
