"""What follows from a policy: which transforms, with which ranges, how likely, and why.

Rules are merged by one rule: of a transform that several ask for there is one, and each of its ranges reaches from the
lowest to the highest that any of them asks for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bloomery_augment.kinds import KINDS
from bloomery_augment.policy import INTENSITIES, Policy
from bloomery_augment.table import RULES, Range, Steps

LIKELY: Mapping[str, float] = MappingProxyType({"low": 0.15, "medium": 0.3, "high": 0.5})
"""How likely a transform changes an image, by intensity."""

MOST = 3.0
"""Transforms that change an image, on average: where there would be more, all are made less likely alike."""


@dataclass(frozen=True, slots=True)
class Change:
    """A transform of a policy.

    Attributes:
        transform: of KINDS.
        likely: probability that it changes an image.
        ranges: what is drawn evenly from which range, by the names of the transform's arguments.
        why: for each part of the policy that asks for it, the reason.
    """

    transform: str
    likely: float
    ranges: Mapping[str, Range]
    why: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        ranges = {name: list(one) for name, one in self.ranges.items()}
        return {"transform": self.transform, "probability": self.likely, "ranges": ranges, "why": dict(self.why)}


def changes(policy: Policy) -> tuple[Change, ...]:
    """What the policy asks for, in the order in which it is done."""
    parts = [*policy.characteristics, *(f"{key}={value}" for key, value in policy.environment.items())]
    asked = [(part, rule) for part in parts for rule in RULES[part]]
    wanted = {name: [(part, rule) for part, rule in asked if rule.transform == name] for name in KINDS}
    wanted = {name: rules for name, rules in wanted.items() if rules}
    likely = min(LIKELY[policy.intensity], MOST / len(wanted))
    step = INTENSITIES.index(policy.intensity)
    return tuple(
        Change(
            name,
            round(likely, 3),
            _widest((rule.ranges for _, rule in rules), step),
            {part: rule.why for part, rule in rules},
        )
        for name, rules in wanted.items()
    )


def effective(policy: Policy) -> dict[str, object]:
    """The policy and all that follows from it, as JSON has it: what is kept with a model."""
    made = [change.to_dict() for change in changes(policy)]
    return {"policy": policy.to_dict(), "text": str(policy), "changes": made}


def _widest(asked: Iterable[Mapping[str, Steps]], step: int) -> dict[str, Range]:
    widest: dict[str, Range] = {}
    for ranges in asked:
        for name, steps in ranges.items():
            low, high = steps[step]
            before = widest.get(name, (low, high))
            widest[name] = min(low, before[0]), max(high, before[1])
    return widest
