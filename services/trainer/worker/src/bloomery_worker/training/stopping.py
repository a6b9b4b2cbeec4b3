"""Which epoch is the best, and when there is no hope for a better one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloomery_worker.failures import ConfigError

PREFIX = "val/"


def chosen(wanted: str, measures: Sequence[str], default: str) -> str:
    """The name of the measurement that chooses the best epoch; "recall/platelets" is short for "val/recall/platelets".

    Raises:
        ConfigError: there is none of that name.
    """
    if not wanted:
        return default
    for name in (wanted, f"{PREFIX}{wanted}"):
        if name in measures:
            return name
    known = ", ".join(name.removeprefix(PREFIX) for name in measures)
    raise ConfigError(f"best_by: nothing is measured under the name {wanted}", hint=f"choose one of {known}")


@dataclass(slots=True)
class Stopper:
    """Keeps the best epoch by one measurement; of losses, less is better.

    Attributes:
        name: of the measurement.
        patience: epochs without a better one that end training; 0 for never.
        epoch: the best one, from 1; 0 before the first.
        value: measured there.
    """

    name: str
    patience: int
    epoch: int = 0
    value: float = 0.0

    def is_best(self, epoch: int, measured: Mapping[str, float]) -> bool:
        """Takes an epoch's measurements in, and says whether it is the best so far; the earlier one of equals is."""
        value = measured[self.name]
        sign = -1.0 if "loss" in self.name else 1.0
        better = not self.epoch or sign * value > sign * self.value
        if better:
            self.epoch, self.value = epoch, value
        return better

    def is_hopeless(self, epoch: int) -> bool:
        """Whether training ends after this epoch."""
        return bool(self.patience and self.epoch) and epoch - self.epoch >= self.patience
