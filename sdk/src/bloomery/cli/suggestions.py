"""bloomery suggestions: list, accept, reject, delete."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import counted
from bloomery.cli._options import (
    LimitOption,
    Output,
    OutputOption,
    ProjectOption,
    VersionArgument,
    YesOption,
    connect,
)
from bloomery.cli._output import as_json, dump, messages, taken

if TYPE_CHECKING:
    from bloomery.annotation.v1 import AnnotationSet

app = typer.Typer(
    help="Suggestions: what models see, beside people's shapes, until somebody accepts or rejects it.",
    no_args_is_help=True,
)

AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="Id, file name or full name of an image.")]
SetArgument = Annotated[str, typer.Argument(metavar="SET", help="Id of the set, as `suggestions list` shows it.")]
ShapeOption = Annotated[
    list[int] | None,
    typer.Option("--shape", min=0, help="Place of a shape in the set, from 0; may be repeated. All by default."),
]
ScoreOption = Annotated[
    float | None, typer.Option("--min-score", min=0, max=1, help="Only shapes with at least this score.")
]


@app.command("list", epilog="Example: bloomery suggestions list cells-v@1 --project cells")
def list_(
    version: VersionArgument,
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List what a model version suggests, an image a line."""
    with connect(project) as client:
        found = taken(client.model_version(version).suggestions(), limit)
    messages(found, ("ASSET", "SET", "SHAPES", "BEST SCORE"), [_row(one) for one in found], output)


@app.command(epilog="Example: bloomery suggestions accept ASSET cells-v-1 --min-score 0.8 --project cells")
def accept(
    asset: AssetArgument,
    set_: SetArgument,
    shape: ShapeOption = None,
    min_score: ScoreOption = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Add shapes of a set to the people's, with their scores. They leave the suggestions."""
    with connect(project) as client:
        found = client.asset(asset)
        before = found.annotation_set(set_)
        _tell("accepted", before, found.accept_suggestions(set_, _places(before, shape, min_score)), output)


@app.command(epilog="Example: bloomery suggestions reject ASSET cells-v-1 --shape 2 --project cells")
def reject(
    asset: AssetArgument,
    set_: SetArgument,
    shape: ShapeOption = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Drop shapes of a set."""
    with connect(project) as client:
        found = client.asset(asset)
        before = found.annotation_set(set_)
        _tell("rejected", before, found.reject_suggestions(set_, shape), output)


@app.command(epilog="Example: bloomery suggestions delete cells-v@1 --project cells --yes")
def delete(
    version: Annotated[
        str, typer.Argument(metavar="MODEL@VERSION", help="Its number; it need not exist any more. Or a full name.")
    ],
    project: ProjectOption = None,
    yes: YesOption = False,
) -> None:
    """Delete all that a model version suggests; what people accepted stays."""
    with connect(project) as client:
        if not yes:
            typer.confirm(f"Delete all suggestions of {version}?", abort=True)
        typer.echo(f"{counted(client.project(project).delete_suggestions(version), 'set')} deleted")


def _places(found: "AnnotationSet", chosen: list[int] | None, min_score: float | None) -> list[int]:
    wanted = range(len(found.shapes)) if chosen is None else chosen
    # What is no place of a shape is for the server to tell.
    return [
        place
        for place in wanted
        if min_score is None or place >= len(found.shapes) or found.shapes[place].confidence >= min_score
    ]


def _tell(what: str, before: "AnnotationSet", left: "AnnotationSet", output: Output) -> None:
    if output is Output.table:
        gone = len(before.shapes) - len(left.shapes)
        typer.echo(f"{counted(gone, 'shape')} {what}, {len(left.shapes)} left")
    else:
        dump(as_json(left), output)


def _row(found: "AnnotationSet") -> tuple[object, ...]:
    parts = found.name.split("/")
    best = max((shape.confidence for shape in found.shapes), default=None)
    return parts[3], parts[5], len(found.shapes), "" if best is None else f"{best:.3f}"
