"""bloomery export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli._options import ProjectOption, connect
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
) -> None:
    """Write a dataset version as a folder that other tools read. What is there already does not travel again."""
    with connect(project) as client, steps() as tell:
        folder = client.dataset_version(version).export(format.value, to, progress=tell)
    typer.echo(folder)
