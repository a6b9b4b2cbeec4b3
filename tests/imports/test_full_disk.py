"""The disk of a server fills up in the middle of an import, and has room again."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bloomery import Step
from bloomery.errors import ResourceExhausted
from real_parts.disk import Filler
from tests.imports.rounds import look
from tests.imports.site import Site, Undisturbed

# Nothing is kept free, so that the disk really gets full; scratch files lie there too, as on a machine with one disk.
SETTINGS = {"BLOOMERY_RESERVED_BYTES": "0"}


@pytest.fixture
def disk_mebibytes() -> int:
    """The journals of a server's databases take 40 MiB at its start."""
    return 48


@pytest.fixture
def small_site(small_disk: Path) -> Iterator[Site]:
    scratch = small_disk / "tmp"
    scratch.mkdir()
    with Site(small_disk, {**SETTINGS, "TMPDIR": str(scratch)}).running() as running:
        yield running


class Fills:
    """A progress that fills the disk once a part of a phase is done."""

    def __init__(self, filler: Filler, phase: str, part: float) -> None:
        self._filler, self._phase, self._part = filler, phase, part
        self.full = asyncio.Event()

    def __call__(self, step: Step) -> None:
        if not self.full.is_set() and step.phase == self._phase and step.done >= self._part * step.total:
            self.fill()

    def fill(self) -> None:
        """Fill it now."""
        self._filler.fill()
        self.full.set()


@pytest.mark.parametrize(
    ("phase", "part"),
    [("", 0), ("uploading", 0.1), ("uploading", 1), ("importing", 0)],
    ids=["before", "while files travel", "when they are there", "while they are read"],
)
async def test_a_disk_that_fills_up_loses_nothing_and_the_next_import_completes_it(
    small_site: Site, undisturbed: Undisturbed, filler: Filler, phase: str, part: float
) -> None:
    async with small_site.client() as client:
        project = await client.create_project("p")
        fills = Fills(filler, phase, part)
        if not phase:
            fills.fill()
        importing = asyncio.create_task(project.import_folder(undisturbed.folder, progress=fills))
        filling = asyncio.create_task(fills.full.wait())
        await asyncio.wait([importing, filling], return_when=asyncio.FIRST_COMPLETED)
        filling.cancel()
        assert fills.full.is_set(), "the disk never filled up, so this test shows nothing"
        await asyncio.wait([importing], timeout=2)
        filler.free()
        await project.import_folder(undisturbed.folder)
        # Whoever is refused is told why; an import that was accepted waits for room.
        with suppress(ResourceExhausted):
            await importing
        assert not await look(client, "p", undisturbed)
    assert not small_site.damaged()
