"""The installations that real trainings are hit in; the tests of a file share them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.sites import Laptop, Replicas, Site, running_replicas


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, examples_dir: Path) -> Iterator[Site]:
    with Laptop(tmp_path_factory.mktemp("laptop")).running(examples_dir / "blood-cells") as site:
        yield site


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, examples_dir: Path) -> Iterator[Replicas]:
    with running_replicas(tmp_path_factory.mktemp("replicas"), examples_dir / "blood-cells") as site:
        yield site
