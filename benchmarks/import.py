"""`bloomery import` of blood-cells through a real server, beside the least that one process must do for it."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from minio import Minio

from bloomery import Client, Step
from harness.bare import bare
from harness.data import blood_cells, sample
from harness.measure import (
    Options,
    Table,
    forget_peak,
    median_and_range,
    options,
    peak_resident_bytes,
    ratios,
    report,
    say,
)
from harness.photographs import BOXES, photographs
from harness.server import Server, running_server, scratch
from harness.services import running_service
from real_parts.minio import run_minio

TOGETHER = 4
BESIDE = "BLOOMERY_BENCH_BESIDE"
"""Names the folder of another checkout with its own `make setup`, such as of an older commit, for the same rounds."""
SIZES = "BLOOMERY_BENCH_IMAGES"
"""How many photographs of about 100 kB are imported for the second table, by default 5000; `5000,50000` tries both."""
TOKEN = "t" * 32


@dataclass(frozen=True)
class Phases:
    """Seconds that an import by the client spends in its two phases."""

    uploading: float
    importing: float


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
    """A server of the other checkout; None where there is none."""
    if not (root := os.environ.get(BESIDE)):
        yield None
        return
    place.mkdir()
    with running_server(place, scripts=Path(root, ".venv/bin")) as server:
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


@dataclass(frozen=True)
class Bulk:
    """An import of many photographs: seconds, and the peaks of memory of server and client in bytes."""

    what: str
    seconds: float
    server: int
    client: int


def bulk(what: str, server: Server, folder: Path) -> Bulk:
    """Import by the command into a new project."""
    say(f"{what}: importing {folder.name}")
    server.bloomery("project", "create", folder.name)
    forget_peak(server.pid)
    ran = server.measured("import", folder, "--project", folder.name)
    return Bulk(what, ran.seconds, peak_resident_bytes(server.pid), ran.peak)


def measure_bulk(place: Path, count: int) -> tuple[float, list[Bulk]]:
    """Seconds of the bare work, and the imports, with servers that have done nothing before."""
    folder = photographs(place / f"photographs-{count}", count)
    seconds = bare(folder, place, keep=True)
    with running_server(place) as server:
        found = [bulk("`bloomery import`", server, folder)]
    with other_server(place / "other") as other:
        return seconds, found + ([bulk("... of the other checkout", other, folder)] if other else [])


def bulk_table(chosen: Options) -> Table:
    """Imports of many photographs, one after the other."""
    rows = []
    for count in (20, 40) if chosen.quick else map(int, os.environ.get(SIZES, "5000").split(",")):
        with scratch() as place:
            least, found = measure_bulk(place, count)
        rows.append((f"{count:,}: bare, checked and copied", f"{least:.1f}", f"{count / least:.0f}", "1.00", "", ""))
        rows += [
            (
                f"{count:,}: {one.what}",
                f"{one.seconds:.1f}",
                f"{count / one.seconds:.0f}",
                f"{one.seconds / least:.2f}",
                f"{one.server / (1 << 20):.0f}",
                f"{one.client / (1 << 20):.0f}",
            )
            for one in found
        ]
    columns = ("images: what", "s", "images/s", "time / bare", "server, peak MiB", "client, peak MiB")
    return Table(f"photographs of about 100 kB with {BOXES} boxes each, once", columns, rows)


@contextmanager
def service_on(place: Path, store: Mapping[str, str]) -> Iterator[Client]:
    """A client of an annotation service by itself, on SQLite, with a store of blobs."""
    place.mkdir()
    settings = {"BLOOMERY_DATABASE_URL": f"sqlite+aiosqlite:///{place}/annotation.db", "BLOOMERY_TOKEN": TOKEN}
    with (
        running_service("bloomery_annotation", place, {**settings, **store}) as (endpoint, _),
        Client(endpoint, token=TOKEN) as client,
    ):
        yield client


@contextmanager
def bucket(place: Path) -> Iterator[Mapping[str, str]]:
    """Settings for an empty bucket of a MinIO."""
    place.mkdir()
    with run_minio(place) as server:
        Minio(server.endpoint, server.access_key, server.secret_key, secure=False).make_bucket("bench")
        url = f"http://{server.endpoint}"
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        found = {"kind": "s3", "endpoint": url, "public_endpoint": url, "bucket": "bench", **keys}
        yield {f"BLOOMERY_OBJECT_STORE__{name.upper()}": value for name, value in found.items()}


def stores_rows(folder: Path, chosen: Options) -> list[tuple[str, str, str]]:
    """The same imports by a service with a folder of blobs, and by one with a MinIO."""
    seconds: list[list[float]] = [[], []]
    with scratch() as place, bucket(place / "minio") as remote, ExitStack() as stack:
        clients = [
            stack.enter_context(service_on(place / name, store)) for name, store in (("local", {}), ("s3", remote))
        ]
        for number in range(chosen.rounds):
            say(f"{folder.name} into a folder and a MinIO, round {number + 1} of {chosen.rounds}")
            for client, taken in zip(clients, seconds, strict=True):
                one = phases(client, folder, f"p{number}")
                taken.append(one.uploading + one.importing)
    names = ("folder of blobs", "MinIO on the same machine")
    return [
        (f"{folder.name}: {name}", median_and_range(taken), median_and_range(ratios(taken, seconds[0])))
        for name, taken in zip(names, seconds, strict=True)
    ]


def stores_table(folder: Path, chosen: Options) -> Table:
    """Imports by where the service keeps blobs: of small images, and of larger ones."""
    with scratch() as place:
        larger = photographs(place / "photographs", 40 if chosen.quick else 500)
        rows = [*stores_rows(folder, chosen), *stores_rows(larger, chosen)]
    return Table("`import_folder` by where the service keeps blobs", ("images: blobs", "s", "time / folder's"), rows)


def main() -> None:
    """Measure and report."""
    chosen = options("bloomery import", rounds=5)
    with scratch() as place:
        folder = sample(place / "sample", 20) if chosen.quick else blood_cells()
        figures = measure(folder, chosen)
        count = len(list((folder / "JPEGImages").iterdir()))
        by_store = stores_table(folder, chosen)
    report("import", [*tables(figures, count), by_store, bulk_table(chosen)], chosen)


if __name__ == "__main__":
    main()
