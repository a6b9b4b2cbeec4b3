"""The import of labels alone, of images that are stored already, beside Label Studio, which gets the same boxes."""

import asyncio
from pathlib import Path

from harness.label_studio import VERSION, label_studio
from harness.labels import BOXES, Labels, draw, seconds_of_import
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.server import scratch

SIZES = (5_000, 50_000)
QUICK = (20, 200)


def ours(place: Path, labels: Labels) -> float:
    """Seconds of an import by a new service."""
    place.mkdir()
    return asyncio.run(seconds_of_import(place, labels))


def measure(chosen: Options) -> Table:
    """The smaller size in turns with Label Studio, the larger by ours alone."""
    sizes = [draw(count) for count in (QUICK if chosen.quick else SIZES)]
    theirs, taken = list[float](), [list[float]() for _ in sizes]
    with scratch() as place, label_studio(place) as studio:
        for number in range(chosen.rounds):
            say(f"round {number + 1} of {chosen.rounds}")
            theirs.append(studio.seconds_of_import(sizes[0], f"round {number}"))
            for labels, seconds in zip(sizes, taken, strict=True):
                seconds.append(ours(place / f"{labels.count}-{number}", labels))

    def row(name: str, labels: Labels, seconds: list[float]) -> tuple[str, str, str, str, str]:
        rates = [labels.count / one for one in seconds]
        each = [one * sizes[0].count / labels.count for one in seconds]
        beside = median_and_range(ratios(theirs, each), 1)
        return name, f"{labels.count:,}", median_and_range(seconds), median_and_range(rates, 0), beside

    rows = [row(f"Label Studio {VERSION.rpartition('=')[2]}", sizes[0], theirs)]
    rows += [row("ours", labels, seconds) for labels, seconds in zip(sizes, taken, strict=True)]
    title = f"labels of stored images, {BOXES} boxes each, {chosen.rounds} rounds, median (range)"
    return Table(title, ("what", "images", "s", "images/s", "times Label Studio"), rows)


if __name__ == "__main__":
    asked = options("imports of labels", rounds=3)
    report("labels", [measure(asked)], asked)
