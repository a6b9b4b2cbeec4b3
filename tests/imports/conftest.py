"""A server that the imports of a file are hit on, and what the sample becomes when nothing is in the way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports.parts import small_parts
from tests.imports.site import Site, Undisturbed, import_undisturbed


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    with small_parts():
        yield


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("imports")).running() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(site: Site, examples_dir: Path) -> Undisturbed:
    return asyncio.run(import_undisturbed(site, examples_dir / "blood-cells"))
