"""Play many imports whose server is killed at a random moment, and write down what became of them.

`make soak-imports IMPORTS=200`; the seed is printed, and `--seed` plays the same rounds again.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from harness.data import blood_cells  # noqa: E402
from harness.measure import Table, circumstances, write_page  # noqa: E402
from tests.imports.rounds import Outcome, Reached, draw, play  # noqa: E402
from tests.imports.site import Site, import_undisturbed  # noqa: E402

PAGE = ROOT / "docs" / "soak.md"


def outcomes(rounds: range, seed: int, place: Path) -> Iterator[Outcome]:
    """Play rounds one after the other, on one data folder."""
    with Site(place).running() as site:
        wanted = asyncio.run(import_undisturbed(site, blood_cells()))
        print(f"{len(wanted.contents.images)} images in {wanted.seconds:.1f} s when nothing is in the way", flush=True)
        for number in rounds:
            outcome = asyncio.run(play(site, wanted, draw(number, seed=seed), f"round-{number}"))
            print(f"{time.strftime('%H:%M:%S')} round {number}: {outcome}", flush=True)
            yield outcome


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


def main() -> int:
    """Play, print and, where that is wanted, write; 1 if a round went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many (200)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one, to play a round again (0)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draws the hits; by default the time")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {given.seed}", flush=True)
    played: list[Outcome] = []
    # Whoever ends it early gets the table of what was played.
    with (
        tempfile.TemporaryDirectory(prefix="bloomery-soak-", ignore_cleanup_errors=True) as place,
        suppress(SystemExit),
    ):
        played.extend(outcomes(range(given.first, given.first + given.rounds), given.seed, Path(place)))
    text = f"{table(played, given.seed).markdown()}\n\n{circumstances()}"
    print(text)
    if given.write:
        write_page(PAGE, "imports", text)
    return 1 if any(one.problems for one in played) else 0


if __name__ == "__main__":
    sys.exit(main())
