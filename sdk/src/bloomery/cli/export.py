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
    from bloomery import Step

    with connect(project) as client, steps() as tell:
        found = client.dataset_version(version)
        tell(Step("exporting"))
        # Asked first: a server that leaves after the last image takes nothing away.
        losses = found.export_losses(format.value)
        folder = found.export(format.value, to, progress=tell)
    if output is not Output.table:
        dump({"folder": str(folder), "format": format.value, "losses": losses}, output)
        return
    typer.echo(folder)
    if losses:
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(losses.items()))
        typer.echo(f"{format.value} cannot hold all shapes as they are: {told}", err=True)
