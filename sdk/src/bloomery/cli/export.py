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


def run(
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    to: Annotated[Path, typer.Option(help="Folder to write to.")],
    format: Annotated[ExportFormat, typer.Option(help="Whose format.")] = ExportFormat.yolo,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Write a dataset version as a folder that other tools read, and say how many shapes the format cannot hold.

    What is there already does not travel again.
    """
    with connect(project) as client, steps() as tell:
        losses = client.dataset_version(version).export_with_losses(format.value, to, progress=tell)
    if output is not Output.table:
        dump({"folder": str(to), "format": format.value, "losses": losses}, output)
        return
    typer.echo(to)
    if losses:
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(losses.items()))
        typer.echo(f"{format.value} cannot hold all shapes as they are: {told}", err=True)
