"""Small real datasets for workers."""

from pathlib import Path

import pytest

from tests.worker.sample_data import Version, as_version, voc_rows


@pytest.fixture(scope="session")
def cells(examples_dir: Path) -> Version:
    """A few real images with boxes."""
    return as_version(*voc_rows(examples_dir / "blood-cells", per_split={"train": 8, "val": 4, "test": 4}))
