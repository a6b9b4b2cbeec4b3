"""Small real datasets for workers, and models that workers have trained on them."""

import asyncio
from pathlib import Path

import pytest

from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import trained
from tests.worker.sample_data import Version, as_version, voc_rows


@pytest.fixture(scope="session")
def cells(examples_dir: Path) -> Version:
    """A few real images with boxes."""
    return as_version(*voc_rows(examples_dir / "blood-cells", per_split={"train": 8, "val": 4, "test": 4}))


@pytest.fixture(scope="session")
def detector(cells: Version, tmp_path_factory: pytest.TempPathFactory) -> FakeTrainer:
    """The service after a worker has trained a detector for it."""
    return asyncio.run(trained("yolo-detect", cells, tmp_path_factory.mktemp("detector")))
