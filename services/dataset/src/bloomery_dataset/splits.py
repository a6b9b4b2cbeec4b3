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
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

PARTS = ("train", "val", "test")
_TRAIN, _VAL, _TEST, _WAITING = range(4)
_COVERED_IN_VAL = 3


@dataclass(frozen=True, slots=True)
class SplitItem:
    """An image: its place in the draw, its shapes of each class, and the group it must stay with ("" for none)."""

    place: bytes
    counts: Mapping[str, int]
    group: str = ""


def place(digest: str, group: str, *, seed: int) -> bytes:
    """Where an image stands in the draw: all of a group at one place, others each at its own."""
    return hashlib.sha256(f"{seed} group {group}".encode() if group else f"{seed} {digest}".encode()).digest()[:8]


def split(items: Iterable[SplitItem], *, percents: tuple[int, int, int]) -> bytearray:
    """The part of every image as a number within PARTS.

    Args:
        items: In the order of places, and of groups where those are equal.
        percents: Shares of train, val and test, which sum to 100.
    """
    units = _Units(items, percents)
    draw = _Draw(units, percents)
    draw.cover()
    draw.stratify()
    draw.fill()
    parts = bytearray()
    for part, size in zip(draw.part, units.sizes, strict=True):
        parts += bytes([part]) * size
    return parts


def sizes(total: int, percents: tuple[int, int, int]) -> tuple[int, int, int]:
    """The sizes of the parts: each share rounded up or down, and up first where down would leave a part empty."""
    floors = [total * percent // 100 for percent in percents]
    rests = [total * percent % 100 for percent in percents]

    def urgency(part: int) -> tuple[bool, int, int]:
        return floors[part] > 0, -rests[part] if floors[part] else 0, part

    for part in sorted((part for part in range(3) if rests[part]), key=urgency)[: total - sum(floors)]:
        floors[part] += 1
    return floors[_TRAIN], floors[_VAL], floors[_TEST]


class _Units:
    """Groups and images of their own, in the order of their places: numbers only, because there may be millions.

    Attributes:
        labels: Names of the labels by their numbers.
        homes: The home part of each unit.
        sizes: Images of each unit.
    """

    def __init__(self, items: Iterable[SplitItem], percents: tuple[int, int, int]) -> None:
        self.labels: list[str] = []
        self.homes = bytearray()
        self.sizes = array("i")
        self._numbers: dict[str, int] = {}
        self._ends = array("q", [0])
        self._label = array("i")
        self._count = array("q")
        for members in _together(items):
            self.homes.append(_home(members[0].place, percents))
            self.sizes.append(len(members))
            self._add(sum((Counter(item.counts) for item in members), Counter()))

    def __len__(self) -> int:
        return len(self.sizes)

    def counts(self, unit: int) -> Iterable[tuple[int, int]]:
        """The numbers of the labels on a unit, each with its number of shapes."""
        own = slice(self._ends[unit], self._ends[unit + 1])
        return zip(self._label[own], self._count[own], strict=True)

    def _add(self, counts: Counter[str]) -> None:
        for label, count in counts.items():
            if label not in self._numbers:
                self._numbers[label] = len(self.labels)
                self.labels.append(label)
            self._label.append(self._numbers[label])
            self._count.append(count)
        self._ends.append(len(self._label))


def _together(items: Iterable[SplitItem]) -> Iterator[list[SplitItem]]:
    """The items of one group after another, and each without a group alone."""
    members: list[SplitItem] = []
    for item in items:
        if members and not (item.group and item.group == members[0].group):
            yield members
            members = []
        members.append(item)
    if members:
        yield members


def _home(place: bytes, percents: tuple[int, int, int]) -> int:
    percent = int.from_bytes(place, "big") * 100 >> 64
    if percent < percents[_TRAIN]:
        return _TRAIN
    return _VAL if percent < percents[_TRAIN] + percents[_VAL] else _TEST


class _Draw:
    """The parts as they fill up. What a part lacks of a label is counted in hundredths of a shape."""

    def __init__(self, units: _Units, percents: tuple[int, int, int]) -> None:
        self._units = units
        self.part = bytearray([_WAITING]) * len(units)
        self._room = list(sizes(sum(units.sizes), percents))
        self._of_label = [array("i") for _ in units.labels]
        self._images = [0] * len(units.labels)
        totals = [0] * len(units.labels)
        for unit, size in enumerate(units.sizes):
            for label, count in units.counts(unit):
                self._of_label[label].append(unit)
                self._images[label] += size
                totals[label] += count
        self._lacks = [[total * percent for percent in percents] for total in totals]

    def cover(self) -> None:
        """Give every label an image in training, then one in validation where it has enough."""
        rarest_first = sorted(range(len(self._images)), key=lambda label: (self._images[label], self._name(label)))
        for part, least in ((_TRAIN, 1), (_VAL, _COVERED_IN_VAL)):
            covered: set[int] = set()
            for label in rarest_first:
                if label not in covered and self._images[label] >= least:
                    covered |= self._seat(label, part, covered)

    def stratify(self) -> None:
        """Serve the label with the fewest images left until none is left."""
        left = [sum(1 for _ in self._waiting(label)) for label in range(len(self._of_label))]
        while any(left):
            _, _, label = min((count, self._name(label), label) for label, count in enumerate(left) if count)
            for unit in self._waiting(label):
                self._assign(unit, self._choose(unit, label))
                for other, _ in self._units.counts(unit):
                    left[other] -= 1

    def fill(self) -> None:
        """Place what has no label."""
        for unit, home in enumerate(self._units.homes):
            if self.part[unit] == _WAITING:
                self._assign(unit, home if self._fits(unit, home) else self._roomiest())

    def _seat(self, label: int, part: int, covered: set[int]) -> set[int]:
        def worth(unit: int) -> tuple[int, bool, int]:
            news = sum(other not in covered for other, _ in self._units.counts(unit))
            return news, self._units.homes[unit] == part, -unit

        best = max((unit for unit in self._waiting(label) if self._fits(unit, part)), key=worth, default=None)
        if best is None:
            return set()
        self._assign(best, part)
        return {other for other, _ in self._units.counts(best)}

    def _waiting(self, label: int) -> Iterator[int]:
        return (unit for unit in self._of_label[label] if self.part[unit] == _WAITING)

    def _choose(self, unit: int, label: int) -> int:
        lacks, home = self._lacks[label], self._units.homes[unit]
        fitting = [part for part in range(3) if self._fits(unit, part)]
        if not fitting:
            return self._roomiest()
        # At least half of what the unit brings is wanted, as in rounding.
        if home in fitting and 2 * lacks[home] >= 100 * dict(self._units.counts(unit))[label]:
            return home
        return max(fitting, key=lambda part: (lacks[part], self._room[part], -part))

    def _fits(self, unit: int, part: int) -> bool:
        return self._room[part] >= self._units.sizes[unit]

    def _roomiest(self) -> int:
        return max(range(3), key=lambda part: (self._room[part], -part))

    def _assign(self, unit: int, part: int) -> None:
        self.part[unit] = part
        self._room[part] -= self._units.sizes[unit]
        for label, count in self._units.counts(unit):
            self._lacks[label][part] -= 100 * count

    def _name(self, label: int) -> str:
        return self._units.labels[label]
