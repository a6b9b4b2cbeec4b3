"""Trainers in processes of their own, on SQLite or on PostgreSQL, with a server's annotation and dataset services."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.server import Server
from harness.services import running_service
from harness.workers import IdleWorkers
from real_parts.process import free_port


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
    worker_port = free_port()
    environment = {**settings(place, database_url, server, idle), "BLOOMERY_WORKER_PORT": str(worker_port)}
    with running_service("bloomery_trainer", place, environment, cores=cores) as (target, pid):
        yield Trainer(target, f"127.0.0.1:{worker_port}", pid)


def settings(place: Path, database_url: str, server: Server, idle: IdleWorkers) -> Mapping[str, str]:
    """The environment of a trainer; replicas share it but for the ports."""
    return {
        **idle.settings,
        "BLOOMERY_DATABASE_URL": database_url,
        "BLOOMERY_TOKEN": server.token,
        "BLOOMERY_ANNOTATION_TARGET": server.endpoint,
        "BLOOMERY_DATASET_TARGET": server.endpoint,
        "BLOOMERY_LAUNCHER__JOBS_DIR": str(place / "jobs"),
        "BLOOMERY_LAUNCHER__CACHE_DIR": str(place / "cache"),
    }
