"""bloomery benchmark."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import short, size
from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import as_json, dump, grid
from bloomery.cli._progress import steps
from bloomery.cli.evaluate import Split

if TYPE_CHECKING:
    from bloomery import Benchmark

EXAMPLE = "Example: bloomery benchmark cells-v@1 cells-v@2 --on cells-v@2"


class Device(StrEnum):
    """What models compute on."""

    cpu = "cpu"
    gpu = "gpu"


def run(
    versions: Annotated[list[str], typer.Argument(metavar="MODEL[@VERSION]...", help="The versions to measure.")],
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="DATASET[@VERSION]",
            help="Dataset version to measure on; the one that the first was trained on by default.",
        ),
    ] = "",
    split: Annotated[Split, typer.Option(help="Whose images; what a model was trained on flatters it.")] = Split.test,
    device: Annotated[Device, typer.Option(help="Variants that are made for it are measured.")] = Device.cpu,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Measure versions and all their ready variants side by side: accuracy, speed, memory, size.

    A job each, one after the other, so that each is measured alone; Ctrl-C leaves the present one running.
    """
    with connect(project) as client, steps() as tell:
        found = [client.model_version(version) for version in versions]
        data = on or found[0].lineage.dataset_version
        rows = [
            row
            for version in found
            for row in version.benchmark(data, split=split.value, device=device.value, progress=tell)
        ]
    show_benchmarks(rows, output)
    if not any(not row.failure for row in rows):
        raise typer.Exit(1)


def show_benchmarks(rows: "Sequence[Benchmark]", output: Output) -> None:
    """Write a table with a row for each version and variant, and why some have no figures."""
    if output is not Output.table:
        dump([_document(row) for row in rows], output)
        return
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    first = next((name for name in metrics if name.endswith(("/map50", "/accuracy"))), "")
    titles = ("MODEL", "SIZE", "P50 MS", "P95 MS", "IMAGES/S", "MEMORY", first or "METRIC", "IMAGES", "ON")
    grid(titles, [_row(row, first) for row in rows])
    for row in rows:
        if row.failure:
            typer.echo(f"{_name(row)}: {row.failure}")


def _name(row: "Benchmark") -> str:
    return short(row.proto.model_variant or row.model_version)


def _row(row: "Benchmark", metric: str) -> tuple[object, ...]:
    latency = row.latency
    if row.failure:
        return (_name(row), *[""] * 8)
    return (
        _name(row),
        size(row.size_bytes),
        latency.p50_ms,
        latency.p95_ms,
        latency.images_per_second,
        size(latency.peak_memory_bytes),
        f"{row.metrics[metric]:.4f}" if metric in row.metrics else "",
        row.images,
        f"{latency.threads} threads, {latency.device}",
    )


def _document(row: "Benchmark") -> dict[str, object]:
    return {
        "modelVersion": row.model_version,
        "variant": row.variant,
        "job": row.proto.name,
        "failure": row.failure,
        "metrics": dict(row.metrics),
        "images": row.images,
        "sizeBytes": row.size_bytes,
        "latency": as_json(row.latency),
    }
