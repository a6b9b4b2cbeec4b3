"""`bloomery import` of blood-cells through a real server, beside the least that one process must do for it."""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bloomery import Client, Step
from bloomery_vision.formats import FolderSource, read, understand
from bloomery_vision.images import probe
from harness.data import blood_cells, sample
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.server import Server, running_server, scratch

TOGETHER = 4
BESIDE = "BLOOMERY_BENCH_BESIDE"
"""Names the folder of another checkout, such as of an older commit, which is measured in the same rounds."""
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE image (digest TEXT PRIMARY KEY, path TEXT, width INT, height INT, split TEXT);
CREATE TABLE shape (digest TEXT, label TEXT, x REAL, y REAL, width REAL, height REAL);
"""


@dataclass(frozen=True)
class Phases:
    """Seconds that an import by the client spends in its two phases."""

    uploading: float
    importing: float


def bare(folder: Path, scratch_folder: Path, *, keep: bool) -> float:
    """Parse, hash and write rows; with `keep` also check the pixels and copy the files, as a server must."""
    started = time.monotonic()
    database = sqlite3.connect(scratch_folder / f"bare-{started}.db")
    blobs = scratch_folder / f"blobs-{started}"
    blobs.mkdir()
    database.executescript(SCHEMA)
    with database:
        source = FolderSource(folder)
        for item in read(source, understand(source)):
            path = folder / item.image_path
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if keep:
                probe(path)
                shutil.copyfile(path, blobs / digest)
            database.execute(
                "INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?)",
                (digest, item.image_path, item.width, item.height, item.split),
            )
            boxes = ((shape.label, shape.geometry.bounds) for shape in item.shapes)
            rows = [(digest, label, box.x, box.y, box.width, box.height) for label, box in boxes if box]
            database.executemany("INSERT INTO shape VALUES (?, ?, ?, ?, ?, ?)", rows)
    database.close()
    return time.monotonic() - started


def phases(client: Client, folder: Path, project: str) -> Phases:
    """Import by the client, and tell the phases apart."""
    marks: dict[str, float] = {}

    def seen(step: Step) -> None:
        marks[step.phase] = time.monotonic()

    target = client.create_project(project)
    started = time.monotonic()
    target.import_folder(folder, progress=seen)
    ended = time.monotonic()
    return Phases(marks["uploading"] - started, ended - marks["uploading"])


def several_at_once(client: Client, folder: Path, names: Iterable[str]) -> float:
    """Seconds to import the folder into several projects at the same time."""
    projects = [client.create_project(name) for name in names]
    started = time.monotonic()
    with ThreadPoolExecutor(len(projects)) as pool:
        list(pool.map(lambda project: project.import_folder(folder), projects))
    return time.monotonic() - started


@contextmanager
def other_server(place: Path) -> Iterator[Server | None]:
    """A server of the other checkout, its sources before ours; None where there is none."""
    if not (root := os.environ.get(BESIDE)):
        yield None
        return
    sources = [path for path in Path(root).rglob("src") if path.is_dir()]
    place.mkdir()
    with running_server(place, {"PYTHONPATH": os.pathsep.join(map(str, sources))}) as server:
        yield server


def by_command(server: Server, folder: Path, project: str) -> float:
    """Seconds of `bloomery import` into a new project."""
    server.bloomery("project", "create", project)
    return server.bloomery("import", folder, "--project", project)


@dataclass(frozen=True)
class Figures:
    """Seconds of each round; `other` is of another checkout and may be empty."""

    command: list[float]
    other: list[float]
    phases: list[Phases]
    bare: list[float]
    kept: list[float]
    together: list[float]


def measure(folder: Path, chosen: Options) -> Figures:
    """Interleave ours and the bare work."""
    figures = Figures([], [], [], [], [], [])
    with (
        scratch() as place,
        running_server(place) as server,
        other_server(place / "other") as other,
        server.client() as client,
    ):
        for number in range(chosen.rounds):
            say(f"round {number + 1} of {chosen.rounds}")
            figures.command.append(by_command(server, folder, f"cli-{number}"))
            if other:
                figures.other.append(by_command(other, folder, f"cli-{number}"))
            figures.bare.append(bare(folder, place, keep=False))
            figures.phases.append(phases(client, folder, f"sdk-{number}"))
            figures.kept.append(bare(folder, place, keep=True))
            names = [f"many-{number}-{index}" for index in range(TOGETHER)]
            figures.together.append(several_at_once(client, folder, names))
    return figures


def tables(figures: Figures, count: int) -> list[Table]:
    """What was measured, for `count` images."""

    def row(name: str, seconds: list[float], images: int = count) -> tuple[str, str, str, str]:
        rates = [images / one for one in seconds]
        beside = ratios([one * count / images for one in seconds], figures.kept)
        return name, median_and_range(seconds), median_and_range(rates, 0), median_and_range(beside)

    client = [one.uploading + one.importing for one in figures.phases]
    rows = [
        row("bare: parse, hash, rows", figures.bare),
        row("bare: and check pixels, copy files", figures.kept),
        row("`bloomery import`", figures.command),
        *([row("... of the other checkout", figures.other)] if figures.other else []),
        row("`import_folder` of the client", client),
        row("... of it, uploading", [one.uploading for one in figures.phases]),
        row("... of it, importing", [one.importing for one in figures.phases]),
        row(f"... into {TOGETHER} projects at once", figures.together, count * TOGETHER),
    ]
    columns = ("what", "s", "images/s", "time / second row's")
    return [Table(f"import of {count} images, {len(client)} rounds, median (range)", columns, rows)]


def main() -> None:
    """Measure and report."""
    chosen = options("bloomery import", rounds=5)
    with scratch() as place:
        folder = sample(place / "sample", 20) if chosen.quick else blood_cells()
        figures = measure(folder, chosen)
        count = len(list((folder / "JPEGImages").iterdir()))
    report("import", tables(figures, count), chosen)


if __name__ == "__main__":
    main()
