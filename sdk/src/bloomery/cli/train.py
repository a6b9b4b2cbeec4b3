"""bloomery train."""

from typing import Annotated

import typer
from rich.console import Console

from bloomery.cli._live import follow
from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._pairs import values
from bloomery.cli.jobs import show_job
from bloomery.cli.models import show_version

EXAMPLE = "Example: bloomery train cells-v@1 --recipe yolo-detect --set epochs=5 --set imgsz=320 --follow"


def run(
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    recipe: Annotated[str, typer.Option(help="Id; `bloomery recipes list` has all.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Parameter of the recipe; may be repeated.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model to publish under; the one with the dataset's id by default.")] = "",
    base: Annotated[
        str, typer.Option(help="Weights to start from: as the recipe names them, scratch, or MODEL@VERSION.")
    ] = "",
    name: Annotated[str, typer.Option(help="Id of the job; made by the server by default.")] = "",
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch to the end and show the model version; Ctrl-C only detaches.")
    ] = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Train a model on a dataset version. The job goes on by itself; --follow watches it."""
    settings = values(set_ or [], "--set")
    with connect(project) as client:
        job = client.dataset_version(version).train(recipe, model=model, base=base, name=name, settings=settings)
        if not follow_:
            show_job(job, output)
            return
        Console(stderr=True, highlight=False).print(f"job {job.id}", soft_wrap=True)
        follow(job)
        show_version(job.check().model_version(), output)
