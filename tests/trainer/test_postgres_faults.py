"""A PostgreSQL that takes no writes, or whose disk is full, behind a real trainer: told at once, and read from."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from bloomery.training.v1 import JOB_STATE_RUNNING
from real_parts.disk import Filler, mount_small_disk
from real_parts.postgres import InstalledPostgres, install_postgres
from tests.trainer.bench import Trainer, World, reason_of
from tests.trainer.hand import by_hand, log

SERVICE = "bloomery.training.v1.JobService"
pytestmark = [pytest.mark.real_server, pytest.mark.timeout(180)]


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[InstalledPostgres]:
    """One of the test's own."""
    with install_postgres(tmp_path) as installed, installed.running():
        yield installed


@asynccontextmanager
async def superuser(postgres: InstalledPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.server.url("postgres", driver="postgresql"))
    try:
        yield connection
    finally:
        await connection.close()


async def take_writes(postgres: InstalledPostgres, *, yes: bool) -> None:
    """As an operator says it, or a fail-over to a server that still follows another one."""
    async with superuser(postgres) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'off' if yes else 'on'}")
        await connection.execute("SELECT pg_reload_conf()")


async def becomes(trainer: Trainer, wanted: int) -> None:
    """Wait until the trainer's health is that."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{trainer.host.port}") as channel, asyncio.timeout(60):
        stub: Any = HealthStub(channel)
        while (await stub.Check(HealthCheckRequest(service=SERVICE))).status != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_postgres_that_takes_no_writes_is_told_at_once_and_read_from(
    world: World, postgres: InstalledPostgres
) -> None:
    async with by_hand(world, database_url=postgres.server.url("postgres")) as hand:
        job, worker = await hand.running()
        await take_writes(postgres, yes=False)
        began = time.monotonic()
        assert await reason_of(hand.trainer.create()) == "DATABASE_READ_ONLY"
        assert await reason_of(worker.report(log("a line"))) == "DATABASE_READ_ONLY"
        print(f"told after {time.monotonic() - began:.2f} s")
        assert (await hand.trainer.get(job.name)).state == JOB_STATE_RUNNING
        await becomes(hand.trainer, HealthCheckResponse.NOT_SERVING)
        assert (await hand.trainer.get(job.name)).state == JOB_STATE_RUNNING
        await take_writes(postgres, yes=True)
        await becomes(hand.trainer, HealthCheckResponse.SERVING)
        await worker.report(log("a line"), first=1)
        await hand.trainer.create()


@contextmanager
def disk() -> Iterator[Path]:
    """A small file system that PostgreSQL's user reaches, which the folders of tests are closed to."""
    with tempfile.TemporaryDirectory(prefix="bloomery-disk-") as folder:
        Path(folder).chmod(0o755)
        with mount_small_disk(Path(folder), mebibytes=160):
            yield Path(folder)


async def test_a_postgres_whose_disk_is_full_is_told_and_goes_on_with_room(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with install_postgres(tmp_path) as postgres, postgres.running():
            monkeypatch.undo()
            async with by_hand(world, database_url=postgres.server.url("postgres")) as hand:
                job, worker = await hand.running()
                filler = Filler(folder / "filler")
                await asyncio.to_thread(filler.fill)

                async def much() -> None:
                    for _ in range(2000):
                        await worker.report(*[log("x" * 4000) for _ in range(20)])

                assert await reason_of(much()) == "DISK_FULL"
                assert (await hand.trainer.get(job.name)).state == JOB_STATE_RUNNING
                filler.free()
                await worker.report(log("there is room again"))
                seen = (await hand.trainer.get(job.name)).last_sequence
                assert seen > worker.sequence > 0
