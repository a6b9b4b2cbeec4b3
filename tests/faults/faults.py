"""What can go wrong in a round, and when: drawn from a seed, so that a round can be played again."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Target(Enum):
    """Who is hit."""

    SUPERVISOR = "supervisor"
    TRAINER = "trainer process"
    SERVER = "server"
    LEADER = "leading replica"
    REPLICAS = "both replicas"
    DATABASE = "database"
    STORE = "object store"

    @property
    def is_worker(self) -> bool:
        return self in (Target.SUPERVISOR, Target.TRAINER)

    @property
    def needs_replicas(self) -> bool:
        return self in (Target.LEADER, Target.REPLICAS, Target.DATABASE, Target.STORE)


class Blow(Enum):
    """What happens to it: ended without a word, stopped for seconds and continued, or it has only 503 for everybody."""

    KILL = "kill -9"
    STOP = "stopped"
    REFUSE = "answers 503"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        fraction: part of the training after which it strikes; below 0 soon after the job's creation, above 1 while the
            model is evaluated and published.
        delay: seconds that it waits from there on.
        absence: seconds for which the target is stopped, refuses, or is away until it is started again.
    """

    target: Target
    blow: Blow
    fraction: float
    delay: float
    absence: float

    @property
    def title(self) -> str:
        return f"{self.target.value}, {self.blow.value}"

    @property
    def most_attempts(self) -> int:
        """Only a worker's death costs an attempt."""
        return 2 if self.target.is_worker and self.blow is Blow.KILL else 1

    def __str__(self) -> str:
        return f"{self.title} for {self.absence:.1f} s, at {self.fraction:.2f} of the training and {self.delay:.1f} s"


OURS = (Target.SUPERVISOR, Target.TRAINER, Target.SERVER, Target.LEADER, Target.REPLICAS)
DECK: Sequence[tuple[Target, Blow]] = [(target, blow) for target in OURS for blow in (Blow.KILL, Blow.STOP)]


def draw(number: int, *, seed: int) -> Fault:
    """The fault of a round: each kind in turn, at a moment of its own."""
    dice = random.Random(f"{seed}/{number}")
    target, blow = DECK[number % len(DECK)]
    fraction = dice.uniform(-0.15, 1.15)
    delay = dice.uniform(0, 6) if fraction < 0 else dice.uniform(0, 1)
    return Fault(target, blow, fraction, delay, dice.uniform(0.5, 5))
