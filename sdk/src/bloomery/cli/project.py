"""bloomery project: create, list, show, rename, delete."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import LimitOption, Output, OutputOption, YesOption, connect
from bloomery.cli._output import listing, show, text

if TYPE_CHECKING:
    from bloomery import Project

app = typer.Typer(help="Projects: images with one list of labels.", no_args_is_help=True)


@app.command(epilog="Example: bloomery project create cells --display-name 'Blood cells'")
def create(
    project: Annotated[str, typer.Argument(help="Id: lower-case letters, digits and dashes.")],
    display_name: Annotated[str, typer.Option(help="What people see; the id by default.")] = "",
    output: OutputOption = Output.table,
) -> None:
    """Create a project."""
    with connect() as client:
        _show(client.create_project(project, display_name=display_name), output)


@app.command("list", epilog="Example: bloomery project list -o json")
def list_(limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List projects."""
    columns = {
        "PROJECT": lambda project: project.id,
        "DISPLAY NAME": lambda project: project.display_name,
        "IMAGES": lambda project: project.asset_count,
        "CREATED": lambda project: project.create_time,
    }
    with connect() as client:
        listing(client.projects(), columns, output, limit)


@app.command("show", epilog="Example: bloomery project show cells")
def show_(
    project: Annotated[str | None, typer.Argument(help="Id or full name; the only one by default.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Show a project."""
    with connect() as client:
        _show(client.project(project), output)


@app.command(epilog="Example: bloomery project rename cells 'Blood cells'")
def rename(
    project: Annotated[str, typer.Argument(help="Id or full name.")],
    display_name: Annotated[str, typer.Argument(metavar="NAME", help="What people see from now on; the id stays.")],
    output: OutputOption = Output.table,
) -> None:
    """Change what people see of a project."""
    with connect() as client:
        _show(client.project(project).update(display_name=display_name), output)


@app.command(epilog="Example: bloomery project delete cells --yes")
def delete(
    project: Annotated[str, typer.Argument(help="Id or full name.")],
    yes: YesOption = False,
) -> None:
    """Delete a project with its images and annotations."""
    with connect() as client:
        found = client.project(project)
        if not yes:
            typer.confirm(f"Delete {found.id} with {found.asset_count} images?", abort=True)
        found.delete()


def _show(project: "Project", output: Output) -> None:
    rows = {
        "name": project.name,
        "display name": project.display_name,
        "labels": text(project.proto.labels),
        "images": project.asset_count,
        "created": project.create_time,
    }
    show(project.proto, rows, output)
