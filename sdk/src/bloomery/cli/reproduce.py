"""bloomery reproduce."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from bloomery.cli._job_files import JobArgument
from bloomery.cli._jobs import show_differences, show_job
from bloomery.cli._live import follow
from bloomery.cli._options import Output, OutputOption, ProjectOption, connect

if TYPE_CHECKING:
    from bloomery import Client, Job

EXAMPLE = "Example: bloomery reproduce JOB --follow"


def run(
    job: JobArgument,
    name: Annotated[str, typer.Option(help="Id of the new job; made by the server by default.")] = "",
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch to the end and show what differs; Ctrl-C only detaches.")
    ] = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Do a training again: same recipe, parameters, dataset version, base weights and seed, with today's code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with connect(project) as client:
        before = client.job(job)
        after = before.reproduce(name=name)
        console.print(f"job {after.id} does {before.id} again")
        if line := _newer_recipe(client, before):
            console.print(f"[yellow]{line}[/]")
        if not follow_:
            show_job(after, output)
            console.print(f"what differs, when it is over: bloomery jobs compare {before.id} {after.id}")
            return
        follow(after)
        show_differences(before, after.check())


def _newer_recipe(client: "Client", before: "Job") -> str:
    """What to say where the recipe is not what it was; empty where it is, or where nothing is recorded."""
    from bloomery._reproduction import record

    recorded = record(before.proto).get("recipe", "")
    present = client.recipe(before.proto.recipe).proto.version
    if recorded in ("", present):
        return ""
    return f"{before.proto.recipe} is version {present} now and was {recorded}: the result may differ"
