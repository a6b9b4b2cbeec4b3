"""Play many rounds of real trainings that are hit at random moments, and write down what became of them.

`make soak ROUNDS=100`; the seed is printed, and `--seed` plays the same faults again.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.measure import Table
from soaking import ROOT, soak
from tests.faults.faults import DECK, draw
from tests.faults.rounds import EPOCHS, Outcome, play
from tests.faults.sites import Laptop, running_replicas

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
            yield play(replicas if fault.target.needs_replicas else laptop, fault, f"round-{number}")


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


if __name__ == "__main__":
    sys.exit(soak("kills", outcomes, table, description=__doc__, rounds=100))
