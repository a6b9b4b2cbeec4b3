"""Small real datasets for workers, and models that workers have trained on them."""

import asyncio
from pathlib import Path

import pytest

from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import trained
from tests.worker.sample_data import Version, as_version, outlined, tagged, voc_rows

SPLITS = {"train": 8, "val": 4, "test": 4}


@pytest.fixture(scope="session")
def cells(examples_dir: Path) -> Version:
    """A few real images with boxes."""
    return as_version(*voc_rows(examples_dir / "blood-cells", per_split=SPLITS))


@pytest.fixture(scope="session")
def detector(cells: Version, tmp_path_factory: pytest.TempPathFactory) -> FakeTrainer:
    """The service after a worker has trained a detector for it."""
    return asyncio.run(trained("yolo-detect", cells, tmp_path_factory.mktemp("detector")))


@pytest.fixture(scope="session")
def outlines(examples_dir: Path) -> Version:
    """The same images with outlines."""
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split=SPLITS)
    return as_version(outlined(rows), blobs, task="segment")


@pytest.fixture(scope="session")
def tags(examples_dir: Path) -> Version:
    """The same images with a tag each."""
    rows, blobs = voc_rows(examples_dir / "blood-cells", per_split=SPLITS)
    return as_version(tagged(rows), blobs, task="classify")


@pytest.fixture(scope="session")
def segmenter(outlines: Version, tmp_path_factory: pytest.TempPathFactory) -> FakeTrainer:
    """The service after a worker has trained a segmenter for it."""
    return asyncio.run(trained("yolo-segment", outlines, tmp_path_factory.mktemp("segmenter")))


@pytest.fixture(scope="session")
def classifier(tags: Version, tmp_path_factory: pytest.TempPathFactory) -> FakeTrainer:
    """The service after a worker has trained a classifier for it."""
    return asyncio.run(trained("yolo-classify", tags, tmp_path_factory.mktemp("classifier")))
