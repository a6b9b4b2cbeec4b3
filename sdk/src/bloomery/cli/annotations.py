"""bloomery annotations: validate, list, show, get, set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bloomery._names import counted
from bloomery.cli import _shape_files
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import as_json, dump, grid, messages, taken

if TYPE_CHECKING:
    from bloomery.annotation.v1 import AnnotationSet
    from bloomery.common.v1 import Problem
    from bloomery.vision.v1 import Shape

app = typer.Typer(help="Annotations: the shapes on images.", no_args_is_help=True)


AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="Id, file name or full name of an image.")]
SetOption = Annotated[str, typer.Option("--set", help="Id of the set: main is the people's, others hold suggestions.")]


@app.command(epilog="Example: bloomery annotations validate --project cells")
def validate(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """Check all annotations. Exits with 1 where something must be repaired; warnings alone exit with 0."""
    with connect(project) as client:
        found = client.project(project).validate(limit=limit or 10**9)
    if output is Output.table:
        rows = [(_severity(one), one.code, one.item, one.message, one.hint) for one in found.problems]
        if rows:
            grid(("SEVERITY", "CODE", "ITEM", "MESSAGE", "HINT"), rows)
        Console(highlight=False).print(
            f"{counted(found.asset_count, 'image')} checked: {counted(found.error_count, 'error')}, "
            f"{counted(found.warning_count, 'warning')}"
        )
    else:
        dump(
            {
                "problems": [as_json(problem) for problem in found.problems],
                "errorCount": str(found.error_count),
                "warningCount": str(found.warning_count),
                "assetCount": str(found.asset_count),
            },
            output,
        )
    if not found.ok:
        raise typer.Exit(1)


@app.command("list", epilog="Example: bloomery annotations list --project cells --limit 10")
def list_(
    project: ProjectOption = None,
    filter: Annotated[
        str,
        typer.Option(help="One of source:human, source:import, source:model, agent:NAME; all by default."),
    ] = "",
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List the sets of shapes of a project's images."""
    with connect(project) as client:
        found = taken(client.project(project).annotation_sets(filter=filter), limit)
    messages(found, ("ASSET", "SET", "REVISION", "SHAPES", "AUTHOR"), [_row(one) for one in found], output)


@app.command("show", epilog="Example: bloomery annotations show ASSET --project cells")
def show_(
    asset: AssetArgument,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show the shapes on an image."""
    with connect(project) as client:
        found = client.asset(asset).annotations()
    if output is Output.table:
        _grid(found)
    else:
        dump([as_json(one) for one in found], output)


@app.command(epilog="Example: bloomery annotations get ASSET --project cells > shapes.json")
def get(asset: AssetArgument, project: ProjectOption = None, set_: SetOption = "main") -> None:
    """Write the shapes on an image as JSON, for `annotations set` to read back."""
    with connect(project) as client:
        found = client.asset(asset).annotation_set(set_)
    # Without an etag, what somebody saves in the meantime would be replaced.
    dump({"shapes": [], "etag": "", **as_json(found)}, Output.json)


@app.command("set", epilog="Example: bloomery annotations set ASSET --file shapes.json --project cells")
def save(
    asset: AssetArgument,
    file: Annotated[
        Path, typer.Option(help="JSON as `annotations get` writes it, or only its list of shapes; - for stdin.")
    ],
    project: ProjectOption = None,
    set_: SetOption = "main",
    output: OutputOption = Output.table,
) -> None:
    """Save shapes on an image in place of those that it has. Refused where somebody saved since the file was got."""
    given = _shape_files.read(file)
    with connect(project) as client:
        found = client.asset(asset)
        given.check_name(f"{found.name}/annotationSets/{set_}")
        saved = found.save_annotations(given.shapes, set=set_, etag=given.etag)
    if output is Output.table:
        _grid([saved])
        for problem in saved.problems:
            _tell(problem)
    else:
        dump(as_json(saved), output)


def _tell(problem: "Problem") -> None:
    line = f"{problem.code}: {problem.path}: {problem.message}" + (f"; {problem.hint}" if problem.hint else "")
    err = Console(stderr=True, soft_wrap=True, highlight=False)
    err.print(f"[yellow]{_severity(problem).lower()}[/] {escape(line)}")


def _severity(problem: "Problem") -> str:
    return problem.Severity.Name(problem.severity).removeprefix("SEVERITY_")


def _grid(sets: "Sequence[AnnotationSet]") -> None:
    rows = [
        (one.name.rpartition("/")[2], shape.label, shape.WhichOneof("geometry"), place(shape))
        for one in sets
        for shape in one.shapes
    ]
    grid(("SET", "LABEL", "SHAPE", "X Y WIDTH HEIGHT"), rows)


def _row(found: "AnnotationSet") -> tuple[object, ...]:
    parts = found.name.split("/")
    return parts[3], parts[5], found.revision, len(found.shapes), found.author


def place(shape: "Shape") -> str:
    """Where a shape is: its box in pixels, or the one around its outline or mask; nothing of a tag."""
    from bloomery._shapes import bounds

    box = bounds(shape)
    return f"{box.x:.1f} {box.y:.1f} {box.width:.1f} {box.height:.1f}" if box else ""
