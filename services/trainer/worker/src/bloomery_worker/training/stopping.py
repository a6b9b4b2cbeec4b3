"""Which epoch is the best, and when there is no hope for a better one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bloomery_worker.best import BestBy


@dataclass(slots=True)
class Stopper:
    """Keeps the best epoch by one measurement, of equals the better one by another.

    Attributes:
        best_by: the measurement.
        own: the other: the recall of one class is soon 1, at the cost of all others.
        patience: epochs without a better one that end training; 0 for never.
        epoch: the best one, from 1; 0 before the first.
        score: of that one by both; more is better.
    """

    best_by: BestBy
    own: BestBy
    patience: int
    epoch: int = 0
    score: list[float] = field(default_factory=list)

    def is_best(self, epoch: int, measured: Mapping[str, float]) -> bool:
        """Takes an epoch's measurements in, and says whether it is the best so far; the earlier one of equals is."""
        score = [self.best_by.score(measured), self.own.score(measured)]
        better = not self.epoch or score > self.score
        if better:
            self.epoch, self.score = epoch, score
        return better

    def is_hopeless(self, epoch: int) -> bool:
        """Whether training ends after this epoch."""
        return bool(self.patience and self.epoch) and epoch - self.epoch >= self.patience
