"""A world for trainers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from real_parts.postgres import PostgresServer
from tests import databases
from tests.trainer.bench import Trainer, World, running_trainer, running_world
from tests.trainer.hand import Hand, by_hand
from tests.trainer.shell_workers import Bench


@pytest.fixture
async def migrated_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    async with databases.postgres_url("trainer", postgres_server) as url:
        yield url


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path) as world:
        yield world


@pytest.fixture
async def trainer(world: World) -> AsyncIterator[Trainer]:
    """A trainer that runs scripted workers as real processes."""
    async with running_trainer(world) as trainer:
        yield trainer


@pytest.fixture
async def hand(world: World) -> AsyncIterator[Hand]:
    """A trainer whose reconciler, clock and workers the test moves."""
    async with by_hand(world) as hand:
        yield hand


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A process launcher alone, without a trainer."""
    bench = Bench(tmp_path)
    yield bench
    cleaner = bench.launcher()
    for thing in await cleaner.observe():
        await cleaner.stop(thing.job_uid, thing.attempt, grace=0)
