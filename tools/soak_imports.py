"""Play many imports whose server is killed at a random moment, and write down what became of them.

`make soak-imports IMPORTS=200`; the seed is printed, and `--seed` plays the same rounds again.
"""

import asyncio
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data import blood_cells
from harness.measure import Table
from soaking import soak
from tests.imports.parts import small_parts
from tests.imports.rounds import Outcome, Reached, draw, play
from tests.imports.site import Site, import_undisturbed


def outcomes(rounds: range, seed: int, place: Path) -> Iterator[Outcome]:
    """Play rounds one after the other, on one data folder."""
    with small_parts(), Site(place).running() as site:
        wanted = asyncio.run(import_undisturbed(site, blood_cells()))
        print(f"{len(wanted.contents.images)} images in {wanted.seconds:.1f} s when nothing is in the way", flush=True)
        for number in rounds:
            yield asyncio.run(play(site, wanted, draw(number, seed=seed), f"round-{number}"))


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
