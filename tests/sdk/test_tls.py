"""A client that speaks TLS trusts those whom SSL_CERT_FILE names, for calls as for files."""

import asyncio
import contextlib
import subprocess
from pathlib import Path

import grpc
import pytest

from bloomery import Timeouts
from bloomery._address import find_server
from bloomery._session import Session
from bloomery.annotation import v1 as annotation
from bloomery.errors import ServerNotFound
from tests.sdk.conftest import QUICK

PROJECT = annotation.Project(name="projects/cells")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.2", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


class Projects(annotation.AnnotationServiceServicer):
    async def GetProject(self, request: annotation.GetProjectRequest, context: object) -> annotation.Project:
        return PROJECT


async def test_a_private_authority_is_trusted_where_it_is_named(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = grpc.aio.server()
    annotation.add_AnnotationServiceServicer_to_server(Projects(), server)  # type: ignore[abstract]
    path, key = certificate
    pair = (key.read_bytes(), path.read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    address = find_server(f"https://localhost:{port}", "secret", {})
    request = annotation.GetProjectRequest(name=PROJECT.name)

    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    trusting = Session(address, timeouts=QUICK)
    assert await trusting.call(trusting.annotation.GetProject, request) == PROJECT
    await trusting.close()

    monkeypatch.delenv("SSL_CERT_FILE")
    wary = Session(address, timeouts=QUICK)
    with pytest.raises(ServerNotFound, match="CERTIFICATE_VERIFY_FAILED"):
        await wary.call(wary.annotation.GetProject, request)
    await wary.close()
    await server.stop(0)


async def test_a_list_of_authorities_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "lost.pem"))
    with pytest.raises(ServerNotFound, match=r"SSL_CERT_FILE.*lost\.pem"):
        Session(find_server("https://localhost:1", "secret", {}))


async def test_a_server_that_is_far_away_is_given_the_time_of_its_handshake(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, key = certificate
    server = grpc.aio.server()
    annotation.add_AnnotationServiceServicer_to_server(Projects(), server)  # type: ignore[abstract]
    pair = (key.read_bytes(), path.read_bytes())
    there = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    ends: list[asyncio.StreamWriter] = []

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            target.write(data)

    async def from_afar(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        await asyncio.sleep(0.7)
        near_reader, near_writer = await asyncio.open_connection("localhost", there)
        ends.append(near_writer)
        with contextlib.suppress(OSError):
            await asyncio.gather(carry(reader, near_writer), carry(near_reader, writer))

    way = await asyncio.start_server(from_afar, "127.0.0.2", 0)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    address = find_server(f"https://127.0.0.2:{way.sockets[0].getsockname()[1]}", "secret", {})
    session = Session(address, timeouts=Timeouts(contact=30.0))
    request = annotation.GetProjectRequest(name=PROJECT.name)
    assert await session.call(session.annotation.GetProject, request) == PROJECT
    assert len(ends) == 2
    await session.close()
    way.close()
    for each in ends:
        each.transport.abort()
    await server.stop(0)
