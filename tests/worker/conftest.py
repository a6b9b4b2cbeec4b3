"""Small real datasets for workers, and models that workers have trained on them."""

from pathlib import Path

import pytest

from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import trained
from tests.worker.sample_data import Version, as_version, outlined, tagged, voc_rows

SPLITS = {"train": 8, "val": 4, "test": 4}


@pytest.fixture(scope="session")
def trainings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


@pytest.fixture(scope="session")
def cells(examples_dir: Path) -> Version:
    """A few real images with boxes."""
    return as_version(*voc_rows(examples_dir / "blood-cells", per_split=SPLITS))


@pytest.fixture(scope="session")
def detector(cells: Version, trainings: Path) -> FakeTrainer:
    """The service after a worker has trained a detector for it."""
    return trained("yolo-detect", cells, trainings)


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
def segmenter(outlines: Version, trainings: Path) -> FakeTrainer:
    """The service after a worker has trained a segmenter for it."""
    return trained("yolo-segment", outlines, trainings)


@pytest.fixture(scope="session")
def classifier(tags: Version, trainings: Path) -> FakeTrainer:
    """The service after a worker has trained a classifier for it."""
    return trained("yolo-classify", tags, trainings)


@pytest.fixture(scope="session")
def detr(cells: Version, trainings: Path) -> FakeTrainer:
    """The service after a worker has trained a detector of transformers for it."""
    return trained("detr-detect", cells, trainings, network="rtdetr_tiny")


@pytest.fixture(scope="session")
def resnet(tags: Version, trainings: Path) -> FakeTrainer:
    """The service after a worker has trained a network of timm for it."""
    return trained("classify-resnet", tags, trainings)
