"""`bloomery export` of one version as YOLO and as COCO, beside Datumaro, which writes the same images and labels."""

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from bloomery import DatasetVersion
from harness.data import copies, sample
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.peer import installed
from harness.server import running_server, scratch

DATUMARO = "1.13.12"
SCRIPT = Path(__file__).parent / "harness" / "datumaro_export.py"
FORMATS = ("yolo", "coco")
COPIES = 6
"""Of each of 364 images: 2,184 images."""


def reading(name: str) -> str:
    """How Datumaro's reading before it writes a format is called."""
    return f"{name} read"


@dataclass(frozen=True)
class Figures:
    """Seconds of each round by format; `first` makes the label files, `again` finds them made."""

    first: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FORMATS})
    again: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FORMATS})
    peer: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in (*FORMATS, *map(reading, FORMATS))}
    )


def timed(version: DatasetVersion, name: str, target: Path) -> float:
    """Seconds of an export into a new folder."""
    started = time.monotonic()
    version.export("yolo" if name == "yolo" else "coco", target)
    return time.monotonic() - started


def peer(python: Path, source: Path, target: Path) -> dict[str, float]:
    """Seconds of Datumaro to write each format, and to read before."""
    done = subprocess.run([python, SCRIPT, source, target], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(folder: Path, chosen: Options, place: Path) -> Figures:
    """Interleave ours and Datumaro's; it reads what we wrote as COCO."""
    figures, python = Figures(), installed(place / "datumaro", f"datumaro=={DATUMARO}")
    with running_server(place) as server, server.client() as client:
        project = client.create_project("cells")
        project.import_folder(folder)
        for number in range(chosen.rounds):
            say(f"round {number + 1} of {chosen.rounds}")
            # One of its own, of which nothing was exported before.
            version = project.build_dataset(f"cells-{number}", split="80/10/10").wait()
            for name in FORMATS:
                figures.first[name].append(timed(version, name, place / f"{name}-{number}"))
                figures.again[name].append(timed(version, name, place / f"{name}-{number}-again"))
            for name, seconds in peer(python, place / f"coco-{number}", place / "peer").items():
                figures.peer[name].append(seconds)
    return figures


def tables(figures: Figures, count: int) -> list[Table]:
    """What was measured, for `count` images."""

    def row(what: str, seconds: list[float], peer: list[float]) -> tuple[str, str, str, str]:
        rates = median_and_range([count / one for one in seconds], 0)
        return what, median_and_range(seconds), rates, median_and_range(ratios(seconds, peer))

    rows = []
    for name in FORMATS:
        peer = figures.peer[name]
        both = [sum(pair) for pair in zip(peer, figures.peer[reading(name)], strict=True)]
        rows += [
            row(f"{name}: Datumaro {DATUMARO}, writing", peer, peer),
            row("... reading and writing", both, peer),
            row("`bloomery export`", figures.first[name], peer),
            row("... again into another folder", figures.again[name], peer),
        ]
    title = f"export of {count} images with their labels, {len(figures.first['yolo'])} rounds, median (range)"
    note = (
        "Ours reads the version from its manifest each time, makes the label files the first time, and checks every "
        "image by its digest."
    )
    return [Table(title, ("what", "s", "images/s", "time / Datumaro's"), rows, note)]


def main() -> None:
    """Measure and report."""
    chosen = options("bloomery export", rounds=3)
    with scratch() as place:
        folder = place / "sample"
        if chosen.quick:
            sample(folder, 40)
        else:
            copies(folder, COPIES)
        figures = measure(folder, chosen, place)
        count = len(list((folder / "JPEGImages").iterdir()))
    report("export", tables(figures, count), chosen)


if __name__ == "__main__":
    main()
