"""Play many imports whose server is killed at a random moment, and write down what became of them.

`make soak-imports IMPORTS=200`; the seed is printed, and `--seed` plays the same rounds again.
"""

import asyncio
import random
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from bloomery import _upload
from harness.data import blood_cells
from harness.measure import Table
from soaking import soak
from tests.imports.parts import small_parts
from tests.imports.rounds import Outcome, Reached, draw, play
from tests.imports.site import Site, import_undisturbed

_TOGETHER = 10
"""Rounds on one data folder: after each one all of its files are looked at."""
_PATIENCE = 600.0
"""Seconds that each half of a round may take, as it is played for hours on machines that have other work."""
_SIDES = {1300: _upload.BUNDLED_BYTES, 1301: _upload.BUNDLED_BYTES, 2600: _upload.PARTED_BYTES}
"""The sides of images that are larger than any bundle, and of one that travels in parts; what each is larger than."""


def outcomes(rounds: range, seed: int, place: Path) -> Iterator[Outcome]:
    """Play rounds one after the other."""
    folder = mixed(place / "mixed")
    for first in range(0, len(rounds), _TOGETHER):
        yield from _on_one_folder(rounds[first : first + _TOGETHER], seed, place / f"from-{rounds[first]}", folder)
        shutil.rmtree(place / f"from-{rounds[first]}")


def _on_one_folder(rounds: range, seed: int, place: Path, folder: Path) -> Iterator[Outcome]:
    place.mkdir()
    with small_parts(), Site(place).running() as site:
        wanted = asyncio.run(import_undisturbed(site, folder))
        print(f"{len(wanted.contents.images)} images in {wanted.seconds:.1f} s when nothing is in the way", flush=True)
        for number in rounds:
            yield asyncio.run(play(site, wanted, draw(number, seed=seed), f"round-{number}", _PATIENCE))


def mixed(folder: Path) -> Path:
    """Blood cells, and a few labelled images that are large."""
    shutil.copytree(blood_cells(), folder)
    dice = random.Random(0)  # noqa: S311 - no secrets
    for side, limit in _SIDES.items():
        path = folder / "JPEGImages" / f"large-{side}.png"
        Image.frombytes("RGB", (side, side), dice.randbytes(3 * side * side)).save(path, compress_level=0)
        assert path.stat().st_size > limit
        box = "<xmin>11</xmin><ymin>20</ymin><xmax>300</xmax><ymax>400</ymax>"
        shape = f"<object><name>RBC</name><bndbox>{box}</bndbox></object>"
        about = f"<annotation><filename>{path.name}</filename>{shape}</annotation>"
        (folder / "Annotations" / f"{path.stem}.xml").write_text(about)
    return folder


def table(played: Sequence[Outcome], seed: int) -> Table:
    """One row for each state of an import and each kind of client, and one for all."""
    kinds = [
        (f"{reached.value}, {then}", [one for one in played if (one.reached, one.hit.stays) == (reached, stays)])
        for reached in Reached
        for stays, then in ((False, "then begun again"), (True, "the client lives on"))
    ]
    return Table(
        f"Imports whose server is killed, seed {seed}",
        ("killed", "rounds", "everything is there", "recovery"),
        [_row(title, kind) for title, kind in [*kinds, ("all", list(played))] if kind],
    )


def _row(title: str, played: Sequence[Outcome]) -> Sequence[str]:
    recovery = [one.recovery for one in played]
    times = f"{statistics.median(recovery):.1f} s, at most {max(recovery):.1f} s"
    return title, str(len(played)), str(sum(not one.problems for one in played)), times


if __name__ == "__main__":
    sys.exit(soak("imports", outcomes, table, description=__doc__, rounds=200))
