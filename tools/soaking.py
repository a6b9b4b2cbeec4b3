"""What all that plays for hours shares: options, a place, and the page that keeps what became of it."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from harness.measure import Table, circumstances, write_page

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "soak.md"


class Outcome(Protocol):
    """What became of a round."""

    @property
    def problems(self) -> Sequence[str]:
        """What should have been otherwise."""
        ...


OutcomeT = TypeVar("OutcomeT", bound=Outcome)


def soak(
    name: str,
    play: Callable[[range, int, Path], Iterator[OutcomeT]],
    table: Callable[[Sequence[OutcomeT], int], Table],
    *,
    description: str | None,
    rounds: int,
) -> int:
    """Play rounds by their numbers, a seed and a folder, and write down their table; 1 if one went wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how many ({rounds})")
    parser.add_argument("--first", type=int, default=0, help="number of the first one, to play a round again (0)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draws the rounds; by default the time")
    add_write(parser)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {given.seed}", flush=True)
    numbers = range(given.first, given.first + given.rounds)
    played: list[OutcomeT] = []
    # Whoever ends it early gets the table of what was played.
    with place() as folder, suppress(SystemExit):
        for number, outcome in zip(numbers, play(numbers, given.seed, Path(folder)), strict=True):
            print(f"{time.strftime('%H:%M:%S')} round {number}: {outcome}", flush=True)
            played.append(outcome)
    write_down(name, [table(played, given.seed)], write=given.write)
    return 1 if any(one.problems for one in played) else 0


def add_write(parser: argparse.ArgumentParser) -> None:
    """Let people say that the page is to be changed."""
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")


def place() -> "tempfile.TemporaryDirectory[str]":
    """A folder for as long as it is played."""
    return tempfile.TemporaryDirectory(prefix="bloomery-soak-", ignore_cleanup_errors=True)


def write_down(name: str, tables: Sequence[Table], *, write: bool) -> None:
    """Print tables and, where that is wanted, put them into the page between the marks of `name`."""
    text = "\n\n".join([*(table.markdown() for table in tables), circumstances()])
    print(text)
    if write:
        write_page(PAGE, name, text)
