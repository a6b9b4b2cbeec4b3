"""Divides images into training, validation and test images.

Iterative stratification for labels that come together on one image (Sechidis, Tsoumakas, Vlahavas: On the
Stratification of Multi-Label Data, ECML PKDD 2011): the rarest label is served first, and each of its images goes to a
part that still lacks that label. Three things are added.

- Stability. A hash of seed and digest gives every image a home part, and an image stays at home while its home lacks
  the label and has room. Only the surplus moves, so adding images moves few others: about as many as chance alone puts
  into the wrong part, which is a share that shrinks with the square root of the number of images.
- Sizes. Parts have the sizes that the percentages say, each rounded up or down. With groups a part exceeds its size by
  less than the largest group.
- Cover. Before anything else, every label gets an image in training, and one in validation if it has three or more,
  the rarest label first and as far as the sizes allow.

All arithmetic is on integers, so that every machine computes the same.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

PARTS = ("train", "val", "test")
_TRAIN, _VAL, _TEST = range(3)
_COVERED_IN_VAL = 3


@dataclass(frozen=True, slots=True)
class SplitItem:
    """An image: its digest, how many shapes of each class it has, and the group it must stay with ("" for none)."""

    digest: str
    counts: Mapping[str, int]
    group: str = ""


def split(items: Iterable[SplitItem], *, percents: tuple[int, int, int], seed: int) -> dict[str, str]:
    """The part of every image by its digest.

    Args:
        items: In any order; digests are unique.
        percents: Shares of train, val and test, which sum to 100.
        seed: Draws the homes.
    """
    units = _units(items, percents, seed)
    draw = _Draw(units, percents)
    draw.cover()
    draw.stratify()
    draw.fill()
    return {digest: PARTS[draw.part[number]] for number, unit in enumerate(units) for digest in unit.digests}


def sizes(total: int, percents: tuple[int, int, int]) -> tuple[int, int, int]:
    """The sizes of the parts: each share rounded up or down, and up first where down would leave a part empty."""
    floors = [total * percent // 100 for percent in percents]
    rests = [total * percent % 100 for percent in percents]

    def urgency(part: int) -> tuple[bool, int, int]:
        return floors[part] > 0, -rests[part] if floors[part] else 0, part

    for part in sorted((part for part in range(3) if rests[part]), key=urgency)[: total - sum(floors)]:
        floors[part] += 1
    return floors[_TRAIN], floors[_VAL], floors[_TEST]


@dataclass(slots=True)
class _Unit:
    rank: int
    home: int
    digests: list[str]
    counts: Counter[str] = field(default_factory=Counter)


def _units(items: Iterable[SplitItem], percents: tuple[int, int, int], seed: int) -> list[_Unit]:
    """Groups and images of their own, in the order of their hashes."""
    units = []
    for (group, _), members in groupby(sorted(items, key=_key), key=lambda item: _key(item)[:2]):
        unit = _Unit(0, _TRAIN, [])
        for item in members:
            unit.digests.append(item.digest)
            unit.counts.update({label: count for label, count in item.counts.items() if count > 0})
        unit.rank = _hash(seed, f"group {group}" if group else unit.digests[0])
        unit.home = _home(unit.rank, percents)
        units.append(unit)
    return sorted(units, key=lambda unit: (unit.rank, unit.digests[0]))


def _key(item: SplitItem) -> tuple[str, str, str]:
    return item.group, "" if item.group else item.digest, item.digest


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:8], "big")


def _home(rank: int, percents: tuple[int, int, int]) -> int:
    percent = rank * 100 >> 64
    if percent < percents[_TRAIN]:
        return _TRAIN
    return _VAL if percent < percents[_TRAIN] + percents[_VAL] else _TEST


class _Draw:
    """The parts as they fill up. What a part lacks of a label is counted in hundredths of a shape."""

    def __init__(self, units: Sequence[_Unit], percents: tuple[int, int, int]) -> None:
        self._units = units
        self.part: dict[int, int] = {}
        self._room = list(sizes(sum(len(unit.digests) for unit in units), percents))
        self._of_label: defaultdict[str, list[int]] = defaultdict(list)
        totals: Counter[str] = Counter()
        for number, unit in enumerate(units):
            totals.update(unit.counts)
            for label in unit.counts:
                self._of_label[label].append(number)
        self._lacks = {label: [total * percent for percent in percents] for label, total in totals.items()}
        self._images = {label: sum(len(units[n].digests) for n in numbers) for label, numbers in self._of_label.items()}

    def cover(self) -> None:
        """Give every label an image in training, then one in validation where it has enough."""
        rarest_first = sorted(self._of_label, key=lambda label: (self._images[label], label))
        for part, least in ((_TRAIN, 1), (_VAL, _COVERED_IN_VAL)):
            covered: set[str] = set()
            for label in rarest_first:
                if label not in covered and self._images[label] >= least:
                    covered |= self._seat(label, part, covered)

    def stratify(self) -> None:
        """Serve the label with the fewest images left until none is left."""
        left = {label: len(numbers) for label, numbers in self._of_label.items()}
        for number in self.part:
            left.update({label: left[label] - 1 for label in self._units[number].counts})
        while any(left.values()):
            label = min((label for label in left if left[label]), key=lambda label: (left[label], label))
            for number in self._waiting(label):
                self._assign(number, self._choose(number, label))
                left.update({label: left[label] - 1 for label in self._units[number].counts})

    def fill(self) -> None:
        """Place what has no label."""
        for number, unit in enumerate(self._units):
            if number not in self.part:
                fits = self._room[unit.home] >= len(unit.digests)
                self._assign(number, unit.home if fits else self._roomiest())

    def _seat(self, label: str, part: int, covered: set[str]) -> set[str]:
        seats = [number for number in self._waiting(label) if self._room[part] >= len(self._units[number].digests)]
        if not seats:
            return set()

        def worth(number: int) -> tuple[int, bool, int]:
            unit = self._units[number]
            return sum(other not in covered for other in unit.counts), unit.home == part, -number

        best = max(seats, key=worth)
        self._assign(best, part)
        return set(self._units[best].counts)

    def _waiting(self, label: str) -> list[int]:
        return [number for number in self._of_label[label] if number not in self.part]

    def _choose(self, number: int, label: str) -> int:
        unit, lacks = self._units[number], self._lacks[label]
        fitting = [part for part in range(3) if self._room[part] >= len(unit.digests)]
        if not fitting:
            return self._roomiest()
        # At least half of what the unit brings is wanted, as in rounding.
        if unit.home in fitting and 2 * lacks[unit.home] >= 100 * unit.counts[label]:
            return unit.home
        return max(fitting, key=lambda part: (lacks[part], self._room[part], -part))

    def _roomiest(self) -> int:
        return max(range(3), key=lambda part: (self._room[part], -part))

    def _assign(self, number: int, part: int) -> None:
        unit = self._units[number]
        self.part[number] = part
        self._room[part] -= len(unit.digests)
        for label, count in unit.counts.items():
            self._lacks[label][part] -= 100 * count
