"""Searches for good parameters: what is tried, which is the same wherever it is worked out, and which trial is best."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bloomery._fields import JobFields
from bloomery._jobs import Parameter
from bloomery.errors import InvalidArgument, NotFound

Space: TypeAlias = Mapping[str, str | Sequence[Parameter]]
"""What is tried of each parameter: a range such as "1..5", "0.1..0.9" or "log:1e-4..1e-2", or a list of values."""

DEFAULTS = ("val/map50_95", "val/accuracy")
"""By which measurement trials are compared where nobody says: the first that they have."""
ETA = 3
"""One of so many trials goes on to the next round of a halving, with so many times the epochs."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly spread, or their logarithms are; `whole` ones where both ends are."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> float:
        """The number at a share, 0 to 1, of the range; four digits of it, so that people can repeat it."""
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low + self.whole) - self.whole * 0.5
        return min(max(round(value) if self.whole else float(f"{value:.4g}"), self.low), self.high)


def read_range(text: str) -> Range | None:
    """The range that a text means; None where it means none.

    Raises:
        InvalidArgument: it is one, and nothing lies in it.
    """
    kind, colon, rest = text.rpartition(":")
    low, dots, high = rest.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        return None
    if not dots or (kind, colon) not in (("", ""), ("log", ":")):
        return None
    if not (math.isfinite(ends[0]) and ends[0] < ends[1] and math.isfinite(ends[1])) or (kind and ends[0] <= 0):
        raise InvalidArgument(f"{text!r} is no range: it goes from a number to a larger one, with log: above 0")
    return Range(*ends, log=bool(kind), whole=all(end.strip().lstrip("+-").isdigit() for end in (low, high)))


def trials(space: Space, count: int, seed: int) -> list[dict[str, Parameter]]:
    """What `count` trials try. Of the same seed a trial is always the same, however many there are.

    Raises:
        InvalidArgument: there is nothing to try, or a range that is none; names the parameter.
    """
    if count < 1:
        raise InvalidArgument("a search needs at least one trial")
    ranges = {name: _choices(name, values) for name, values in space.items()}
    if not ranges:
        raise InvalidArgument("a search needs a parameter to try", hint='such as {"lr0": "log:1e-4..1e-2"}')
    return [
        {name: _drawn(values, _share(f"{seed}/{name}/{number}")) for name, values in ranges.items()}
        for number in range(1, count + 1)
    ]


def rounds(count: int, epochs: int) -> list[tuple[int, int]]:
    """How many trials each round of a halving has, and for how many epochs they train; the last one for all.

    From round to round they train for longer: a round as long as the one before would train the same again.
    """
    counts = [count]
    while counts[-1] >= ETA:
        counts.append(counts[-1] // ETA)
    if counts[-1] > 1:
        counts.append(1)
    left = range(len(counts) - 1, -1, -1)
    lengths = [max(1, round(epochs / ETA**more)) for more in left]
    return [
        (many, length) for many, length, before in zip(counts, lengths, (0, *lengths), strict=False) if length > before
    ]


def score(job: JobFields, by: str) -> float | None:
    """How good a trial is, more is better; None where it did not succeed, or was not measured so."""
    # Of classes, what the published model finds, and not the last epoch.
    found = (
        job.proto.result.details.fields["of_classes"].struct_value.fields
        if "of_classes" in job.proto.result.details
        else {}
    )
    of_classes = {name: value.number_value for name, value in found.items()}
    measured = {**job.proto.progress.metrics, **of_classes, **job.proto.result.metrics}
    parameters = job.proto.effective_parameters.fields
    # To read a field that is not there would make it.
    wanted = by or (parameters["best_by"].string_value if "best_by" in parameters else "")
    names = (wanted, f"val/{wanted}") if wanted else DEFAULTS
    for name in names:
        value = measured.get(name)
        if value is not None and math.isfinite(value) and job.state == "SUCCEEDED":
            return -value if name.split("/")[1 if "/" in name else 0].endswith("loss") else value
    return None


def ranked(jobs: Sequence[JobFields], by: str) -> list[int]:
    """The places of those jobs that have a score, the best one first; of equal ones the earlier."""
    scores = {place: found for place, job in enumerate(jobs) if (found := score(job, by)) is not None}
    return sorted(scores, key=lambda place: (-scores[place], place))


def best(jobs: Sequence[JobFields], by: str, group: str) -> int:
    """The place of the best job.

    Raises:
        NotFound: none has succeeded and was measured so; tells what was measured.
    """
    places = ranked(jobs, by)
    if places:
        return places[0]
    there = sorted({name for job in jobs for name in job.metrics})
    hint = f"there are {', '.join(there)}" if there else "wait until one has succeeded"
    raise NotFound(f"no job of {group} has succeeded with {by or 'a measurement to compare by'}", hint=hint)


def _choices(name: str, values: str | Sequence[Parameter]) -> Range | Sequence[Parameter]:
    if not isinstance(values, str):
        if not values:
            raise InvalidArgument(f"{name}: there is no value to try")
        return values
    found = read_range(values)
    if found is None:
        raise InvalidArgument(f"{name}: {values!r} is no range such as 1..5 or log:1e-4..1e-2, and no list of values")
    return found


def _share(key: str) -> float:
    """A number from 0 up to 1, evenly spread over keys."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def _drawn(values: Range | Sequence[Parameter], share: float) -> Parameter:
    return values.at(share) if isinstance(values, Range) else values[int(share * len(values))]
