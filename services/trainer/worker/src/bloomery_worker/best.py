"""Which epoch of a training is the best: `best_by` names the measurement that says so, the same in all recipes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bloomery_worker.failures import ConfigError, some
from bloomery_worker.messages import Value

PARAMETER = "best_by"
SPLIT = "val/"
"""Measurements of the validation split may be named without it."""


@dataclass(frozen=True, slots=True)
class BestBy:
    """A measurement by which epochs are compared. Early stopping goes by the same.

    Attributes:
        name: as it was given, such as "recall/platelets" or "val/box_loss"; never empty.
    """

    name: str

    @property
    def smaller(self) -> bool:
        """Whether less is better, which it is of losses: their names have `loss` at the end of the second part."""
        parts = self.name.removeprefix(SPLIT).split("/")
        return parts[1 if parts[0] == "train" and len(parts) > 1 else 0].endswith("loss")

    def score(self, measured: Mapping[str, float]) -> float:
        """How good an epoch is; more is better, and what is no number is worse than all.

        Args:
            measured: what was measured at the end of the epoch, by name.

        Raises:
            ConfigError: there is no such measurement; tells those that there are.
        """
        value = measured.get(self.name, measured.get(SPLIT + self.name))
        if value is None:
            raise ConfigError(f"{PARAMETER}: nothing is measured under the name {self.name}", hint=_there(measured))
        if not math.isfinite(value):
            return -math.inf
        return -value if self.smaller else value


def best_by(parameters: Mapping[str, Value], classes: Sequence[str], default: str = "") -> BestBy | None:
    """What a job's parameters say: the measurement that they name, else `default`; None where that is empty.

    Raises:
        ConfigError: it is one of a class that the job does not have.
    """
    name = str(parameters.get(PARAMETER, "")) or default
    of, _, named = name.removeprefix(SPLIT).partition("/")
    if named and of != "train" and named not in classes:
        raise ConfigError(
            f"{PARAMETER}: {named} is no class of the dataset version", hint=f"name one of {some(classes)}"
        )
    return BestBy(name) if name else None


def _there(measured: Iterable[str]) -> str:
    names = [name.removeprefix(SPLIT) for name in sorted(measured)]
    return (
        f"name one of {some(names)}" if names else "nothing was measured: the dataset version has no validation images"
    )
