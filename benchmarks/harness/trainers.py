"""Trainers in processes of their own, on SQLite or on PostgreSQL, with a server's annotation and dataset services."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from harness.server import Server
from harness.workers import IdleWorkers

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Trainer:
    """A running trainer: where people and workers call, and its process."""

    target: str
    worker_target: str
    pid: int


@contextmanager
def running_trainer(
    place: Path, database_url: str, server: Server, idle: IdleWorkers, *, cores: Collection[int] = ()
) -> Iterator[Trainer]:
    """`python -m bloomery_trainer`, on some cores only where `cores` are given."""
    port, worker_port = free_port(), free_port()
    environment = {
        **settings(place, database_url, server, idle),
        "BLOOMERY_PORT": str(port),
        "BLOOMERY_WORKER_PORT": str(worker_port),
    }
    log = place / f"trainer-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bloomery_trainer"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    if cores:
        # Before it has started a thread: threads inherit it.
        os.sched_setaffinity(process.pid, cores)
    try:
        await_ready(f"127.0.0.1:{port}", process, log)
        yield Trainer(f"127.0.0.1:{port}", f"127.0.0.1:{worker_port}", process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def settings(place: Path, database_url: str, server: Server, idle: IdleWorkers) -> Mapping[str, str]:
    """The environment of a trainer; replicas share it but for the ports."""
    return {
        **os.environ,
        **idle.settings,
        "BLOOMERY_DATABASE_URL": database_url,
        "BLOOMERY_TOKEN": server.token,
        "BLOOMERY_BIND": "127.0.0.1",
        "BLOOMERY_ANNOTATION_TARGET": server.endpoint,
        "BLOOMERY_DATASET_TARGET": server.endpoint,
        "BLOOMERY_LAUNCHER__JOBS_DIR": str(place / "jobs"),
        "BLOOMERY_LAUNCHER__CACHE_DIR": str(place / "cache"),
        "BLOOMERY_OBJECT_STORE__KIND": "folder",
        "BLOOMERY_OBJECT_STORE__ROOT": str(place / "blobs"),
        "BLOOMERY_OBJECT_STORE__BASE_URL": "http://127.0.0.1:1",
        "BLOOMERY_OBJECT_STORE__SIGNING_KEY": "k" * 32,
    }


def await_ready(target: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a server answers. Exit with its words if it does not."""
    deadline = time.monotonic() + _START_SECONDS
    with grpc.insecure_channel(target) as channel:
        while True:
            with suppress(grpc.FutureTimeoutError):
                grpc.channel_ready_future(channel).result(0.2)
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(log.read_text())


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
