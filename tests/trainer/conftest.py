"""A world for trainers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.trainer.bench import Trainer, World, running_trainer, running_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path) as world:
        yield world


@pytest.fixture
async def trainer(world: World) -> AsyncIterator[Trainer]:
    """A trainer that runs scripted workers as real processes."""
    async with running_trainer(world) as trainer:
        yield trainer
