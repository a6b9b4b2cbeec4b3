"""bloomery export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import dump
from bloomery.cli._progress import steps

EXAMPLE = "Example: bloomery export cells-v@1 --format yolo --to ./cells-yolo"


class ExportFormat(StrEnum):
    """File formats of exports."""

    yolo = "yolo"
    coco = "coco"
    imagefolder = "imagefolder"


def run(
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    to: Annotated[Path, typer.Option(help="Folder to write to.")],
    format: Annotated[
        ExportFormat,
        typer.Option(help="Whose format; imagefolder is for versions of kind classify.", show_default="yolo"),
    ] = ExportFormat.yolo,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Write a dataset version as a folder that other tools read, and say how many shapes the format cannot hold.

    What is there already does not travel again.
    """
    with connect(project) as client, steps() as tell:
        wanted = client.dataset_version(version)
        losses = wanted.export_with_losses(format.value, to, progress=tell)
        has_val = any(part.split == "val" and part.image_count for part in wanted.statistics.splits)
    if output is not Output.table:
        dump({"folder": str(to), "format": format.value, "losses": losses}, output)
        return
    typer.echo(to)
    if losses:
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(losses.items()))
        typer.echo(f"{format.value} cannot hold all shapes as they are: {told}", err=True)
    if format is ExportFormat.yolo and not has_val:
        typer.echo("data.yaml has no `val`, without which Ultralytics does not train: no image is in val", err=True)
