"""bloomery recipes: list, show, template, check."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli._config import default, limits, template
from bloomery.cli._options import LimitOption, Output, OutputOption, connect
from bloomery.cli._output import grid, listing, show

app = typer.Typer(help="Recipes: the ways to make a model.", no_args_is_help=True)


@app.command("list", epilog="Example: bloomery recipes list")
def list_(limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List the recipes of the catalogue."""
    columns = {
        "RECIPE": lambda recipe: recipe.id,
        "TASK": lambda recipe: recipe.task,
        "LICENSE": lambda recipe: recipe.proto.license,
        "DESCRIPTION": lambda recipe: recipe.description,
    }
    with connect() as client:
        listing(client.recipes(), columns, output, limit)


@app.command("show", epilog="Example: bloomery recipes show yolo-detect")
def show_(recipe: Annotated[str, typer.Argument(help="Id.")], output: OutputOption = Output.table) -> None:
    """Show a recipe with its parameters."""
    with connect() as client:
        found = client.recipe(recipe)
    rows = {
        "name": found.name,
        "version": found.proto.version,
        "license": found.proto.license,
        "task": found.task,
        "bases": found.proto.bases,
        "description": found.description,
    }
    show(found.proto, rows, output)
    if output is Output.table:
        parameters = [
            (one.id, default(one), limits(one), one.unit, ", ".join(one.kinds) or "TRAIN", one.description)
            for one in found.parameters
        ]
        grid(("PARAMETER", "DEFAULT", "ALLOWED", "UNIT", "JOBS", "DESCRIPTION"), parameters)


@app.command("template", epilog="Example: bloomery recipes template yolo-detect > training.yaml")
def template_(recipe: Annotated[str, typer.Argument(help="Id.")]) -> None:
    """Write a YAML file for `bloomery train --config`: every parameter with its default, limits and meaning."""
    with connect() as client:
        typer.echo(template(client.recipe(recipe).proto), nl=False)


@app.command("check", epilog="Example: bloomery recipes check class_prior")
def check_(
    package: Annotated[str, typer.Argument(help="Package that has the recipe.yaml, such as class_prior.")],
    python: Annotated[
        Path,
        typer.Option(
            envvar="BLOOMERY_LAUNCHER__WORKER_PYTHON",
            help="Interpreter of the worker's environment, in which the package is installed.",
        ),
    ] = Path(".venv-worker/bin/python"),
    parameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the jobs that try it.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="One of the checks; all by default.")] = None,
) -> None:
    """Try a recipe on this machine, without a server: training, resuming, stopping, evaluating, exporting, odd data."""
    if not python.exists():
        raise typer.BadParameter(f"there is no interpreter {python}", param_hint="--python")
    options = [*(f"--set={one}" for one in parameters or ()), *(f"--only={one}" for one in only or ())]
    raise typer.Exit(subprocess.run([python, "-P", "-m", "bloomery_worker.checking", package, *options]).returncode)
