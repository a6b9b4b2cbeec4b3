"""Play many rounds of real trainings that are hit at random moments, and write down what became of them.

`make soak ROUNDS=100`; the seed is printed, and `--seed` plays the same faults again.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from harness.measure import Table, circumstances, write_page  # noqa: E402
from tests.faults.faults import DECK, draw  # noqa: E402
from tests.faults.rounds import EPOCHS, Outcome, play  # noqa: E402
from tests.faults.sites import Laptop, running_replicas  # noqa: E402

PAGE = ROOT / "docs" / "soak.md"
IMAGES = ROOT / "examples" / "blood-cells"


def outcomes(rounds: range, seed: int, place: Path) -> Iterator[Outcome]:
    """Play rounds one after the other, in two installations that live as long as all of them."""
    with ExitStack() as stack:
        (place / "laptop").mkdir()
        (place / "replicas").mkdir()
        laptop = stack.enter_context(Laptop(place / "laptop").running(IMAGES))
        replicas = stack.enter_context(running_replicas(place / "replicas", IMAGES))
        for number in rounds:
            fault = draw(number, seed=seed)
            outcome = play(replicas if fault.target.needs_replicas else laptop, fault, f"round-{number}")
            print(f"{time.strftime('%H:%M:%S')} round {number}: {outcome}", flush=True)
            yield outcome


def table(played: Sequence[Outcome], seed: int) -> Table:
    """One row for each kind of fault, and one for all."""
    kinds = [[one for one in played if (one.fault.target, one.fault.blow) == kind] for kind in DECK]
    named = [(kind[0].fault.title, kind) for kind in kinds if kind]
    return Table(
        f"Random faults in real trainings of {EPOCHS} epochs, seed {seed}",
        ("fault", "rounds", "in time", "SUCCEEDED with every epoch once", "attempts", "repeated epochs", "recovery"),
        [_row(title, kind) for title, kind in [*named, ("all", list(played))]],
    )


def _row(title: str, played: Sequence[Outcome]) -> Sequence[str]:
    attempts = [one.attempts for one in played]
    recovery = [one.recovery for one in played if one.recovery is not None]
    times = f"{statistics.median(recovery):.1f} s, at most {max(recovery):.1f} s" if recovery else "-"
    return (
        title,
        str(len(played)),
        str(sum(one.struck for one in played)),
        str(sum(not one.problems for one in played)),
        f"{min(attempts)} to {max(attempts)}",
        f"at most {max(one.repeated for one in played)}",
        times,
    )


def main() -> int:
    """Play, print and, where that is wanted, write; 1 if a round went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many (100)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one, to play a round again (0)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draws the faults; by default the time")
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
        write_page(PAGE, "kills", text)
    return 1 if any(one.problems for one in played) else 0


if __name__ == "__main__":
    sys.exit(main())
