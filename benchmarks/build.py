"""Building a dataset version, beside reading the same annotations from their files and writing one Parquet file."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bloomery import Project
from bloomery_vision.formats import FolderSource, ImportItem, read, understand
from bloomery_vision.manifest import ManifestRow, ShardWriter
from harness.data import copies, sample
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.server import running_server, scratch

CLASSES = ("RBC", "WBC", "Platelets")
COPIES = 10


@dataclass(frozen=True)
class Figures:
    """Seconds of each round for `images` images."""

    images: int
    ours: list[float]
    bare: list[float]


def rows(folder: Path) -> Iterator[ManifestRow]:
    """The images of a Pascal VOC folder as rows of a manifest."""
    source = FolderSource(folder)
    for item in read(source, understand(source)):
        yield row(folder / item.image_path, item)


def row(path: Path, item: ImportItem) -> ManifestRow:
    """One image as a row."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ManifestRow(
        asset=f"projects/bare/assets/{path.stem}",
        digest=f"sha256:{digest}",
        logical_key=f"bare/{digest}",
        size_bytes=path.stat().st_size,
        media_type="image/jpeg",
        width=item.width or 0,
        height=item.height or 0,
        split=item.split or "train",
        group="",
        file_name=path.name,
        shapes=item.shapes,
    )


def bare(folder: Path, target: Path) -> float:
    """Read the annotations and write one Parquet file."""
    started = time.monotonic()
    with ShardWriter(target, CLASSES) as writer:
        for one in rows(folder):
            writer.write(one)
    return time.monotonic() - started


def ours(project: Project, number: int) -> float:
    """Build the first version of a new dataset."""
    started = time.monotonic()
    project.build_dataset(f"cells-{number}", split="70/20/10", seed=number).wait()
    return time.monotonic() - started


def measure(folder: Path, place: Path, chosen: Options) -> Figures:
    """Interleave ours and the bare work on one folder."""
    place.mkdir()
    figures = Figures(len(list((folder / "JPEGImages").iterdir())), [], [])
    with running_server(place) as server, server.client() as client:
        project = client.create_project("cells")
        say(f"importing {figures.images} images")
        project.import_folder(folder)
        for number in range(chosen.rounds):
            figures.ours.append(ours(project, number))
            figures.bare.append(bare(folder, place / "bare.parquet"))
    return figures


def table_row(figures: Figures) -> tuple[str, ...]:
    """The figures of one folder."""
    return (
        str(figures.images),
        median_and_range(figures.ours),
        median_and_range([figures.images / one for one in figures.ours], 0),
        median_and_range(figures.bare),
        median_and_range(ratios(figures.ours, figures.bare)),
    )


def main() -> None:
    """Measure and report."""
    chosen = options("building a dataset version", rounds=5)
    with scratch() as place:
        small = sample(place / "small", 20 if chosen.quick else 1000)
        large = copies(place / "large", 2 if chosen.quick else COPIES)
        found = [measure(small, place / "first", chosen), measure(large, place / "second", chosen)]
    columns = ("images", "build (s)", "images/s", "bare (s)", "build / bare")
    table = Table(
        f"dataset version, {chosen.rounds} rounds, median (range)", columns, [table_row(one) for one in found]
    )
    report("build", [table], chosen)


if __name__ == "__main__":
    main()
