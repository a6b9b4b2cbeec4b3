"""bloomery models merge."""

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli._making import show_making
from bloomery.cli._options import Output, OutputOption, ProjectOption, VersionArgument, connect

EXAMPLE = "Example: bloomery models merge cells-v@2 --base ./yolov8n.pt --follow"


def run(
    version: VersionArgument,
    base: Annotated[
        Path | None, typer.Option(help="File of the base weights; found by its name by default, as for a training.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model to publish under; that of the version by default.")] = "",
    name: Annotated[str, typer.Option(help="Id of the job; made by the server by default.")] = "",
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch to the end and show the model version; Ctrl-C only detaches.")
    ] = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Put a version's adapter on its base again: a job publishes the model that both make.

    The base must be the file that the adapter was trained on, by its digest.
    """
    with connect(project) as client:
        job = client.model_version(version).merge(base, model=model, name=name)
        show_making(job, output, follow=follow_)
