"""bloomery labels: list, show, create, rename, delete."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery import errors
from bloomery._names import counted
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, YesOption, connect
from bloomery.cli._output import listing, show

if TYPE_CHECKING:
    from bloomery import Label

app = typer.Typer(help="Labels: the classes of things that shapes carry.", no_args_is_help=True)


LabelArgument = Annotated[str, typer.Argument(metavar="LABEL", help="Id, display name or full name.")]


@app.command("list", epilog="Example: bloomery labels list --project cells")
def list_(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List labels in the order of their creation."""
    columns = {
        "LABEL": lambda label: label.id,
        "DISPLAY NAME": lambda label: label.display_name,
        "COLOR": lambda label: label.color,
        "SHAPES": lambda label: label.shape_count,
    }
    with connect(project) as client:
        listing(client.project(project).labels(), columns, output, limit)


@app.command("show", epilog="Example: bloomery labels show rbc --project cells")
def show_(
    label: LabelArgument,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show a label."""
    with connect(project) as client:
        _show(client.label(label), output)


@app.command(epilog="Example: bloomery labels create Platelets --project cells --color '#aa3377'")
def create(
    display_name: Annotated[str, typer.Argument(help="What people see and what exports write.")],
    project: ProjectOption = None,
    id: Annotated[str, typer.Option("--id", help="Made from the display name by default.")] = "",
    color: Annotated[str, typer.Option(help="#rrggbb; from a palette by default.")] = "",
    output: OutputOption = Output.table,
) -> None:
    """Create a label."""
    with connect(project) as client:
        _show(client.project(project).create_label(display_name, id=id, color=color), output)


@app.command(epilog="Example: bloomery labels rename RBC 'Red cell' --project cells")
def rename(
    label: LabelArgument,
    display_name: Annotated[str, typer.Argument(metavar="NAME", help="What people see from now on.")],
    project: ProjectOption = None,
    color: Annotated[str | None, typer.Option(help="#rrggbb; as it was by default.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Change what people see and exports write; the shapes keep their label, and dataset versions their classes."""
    with connect(project) as client:
        _show(client.label(label).update(display_name=display_name, color=color), output)


@app.command(epilog="Example: bloomery labels delete rbc --project cells --force --yes")
def delete(
    label: LabelArgument,
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also delete the shapes that carry it.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete a label that no shape carries."""
    with connect(project) as client:
        found = client.label(label)
        if not yes:
            shapes = f" with {counted(found.shape_count, 'shape')}" if force else ""
            typer.confirm(f"Delete {found.id}{shapes}?", abort=True)
        try:
            found.delete(force=force)
        except errors.FailedPrecondition as error:
            error.hint = error.hint if force else "relabel the shapes first, or delete them too with --force"
            raise


def _show(label: "Label", output: Output) -> None:
    rows = {
        "name": label.name,
        "display name": label.display_name,
        "color": label.color,
        "shapes": label.shape_count,
    }
    show(label.proto, rows, output)
