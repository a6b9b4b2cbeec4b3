"""bloomery import, and bloomery imports: list, show."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import listing, show
from bloomery.cli._progress import steps

if TYPE_CHECKING:
    from bloomery import Import

EXAMPLE = "Example: bloomery import ./blood-cells --project cells --format voc"
_MOST_PROBLEMS = 10

app = typer.Typer(help="Imports: the reading of labelled folders.", no_args_is_help=True)


class FolderFormat(StrEnum):
    """File formats of labelled folders."""

    voc = "voc"
    coco = "coco"
    yolo = "yolo"
    images = "images"


def run(
    folder: Annotated[
        Path, typer.Argument(help="With images, and VOC, COCO or YOLO labels if there are; or a zip file of it.")
    ],
    project: ProjectOption = None,
    format: Annotated[FolderFormat | None, typer.Option(help="Found out from the files by default.")] = None,
    output: OutputOption = Output.table,
) -> None:
    """Import a folder of images, labelled or not. After an interruption only what is missing travels again."""
    with connect(project) as client, steps() as tell:
        done = client.project(project).import_folder(folder, format=format.value if format else None, progress=tell)
    _show(done, output)
    if output is Output.table:
        _problems(done)


@app.command("list", epilog="Example: bloomery imports list --project cells")
def list_(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List imports, newest first."""
    columns = {
        "IMPORT": lambda one: one.id,
        "STATE": lambda one: one.state,
        "FORMAT": lambda one: one.format,
        "FOLDER": lambda one: one.proto.display_name,
        "IMAGES": lambda one: f"{one.proto.done_count}/{one.proto.item_count}",
        "PROBLEMS": lambda one: one.proto.problem_count,
    }
    with connect(project) as client:
        listing(client.project(project).imports(), columns, output, limit)


@app.command("show", epilog="Example: bloomery imports show IMPORT --project cells")
def show_(
    name: Annotated[str, typer.Argument(metavar="IMPORT", help="Id or full name.")],
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show an import with what was wrong."""
    with connect(project) as client:
        found = client.get_import(name)
    _show(found, output)
    if output is Output.table:
        _problems(found)


def _show(done: "Import", output: Output) -> None:
    proto = done.proto
    rows = {
        "name": done.name,
        "state": done.state,
        "error": proto.error.message,
        "format": done.format,
        "images": f"{proto.done_count}/{proto.item_count}",
        "new images": proto.asset_count,
        "annotated": proto.annotated_count,
        "unchanged": proto.unchanged_count,
        "failed": proto.failed_count,
        "shapes": proto.shape_count,
    }
    show(proto, rows, output)


def _problems(done: "Import") -> None:
    err = Console(stderr=True, soft_wrap=True, highlight=False)
    if done.skipped:
        left = ", ".join(f"{count} {ending}" for ending, count in done.skipped.items())
        err.print(f"[yellow]not sent[/], neither images nor labels: {escape(left)}")
    if done.state == "SUCCEEDED" and done.format == FolderFormat.images:
        err.print("no label files: the images wait to be annotated (bloomery assets list --filter unannotated)")
    for problem in done.proto.problems[:_MOST_PROBLEMS]:
        err.print(f"[yellow]{escape(problem.item)}[/]: {escape(problem.message)}")
    if (more := done.proto.problem_count - _MOST_PROBLEMS) > 0:
        err.print(f"and {more} more problems: bloomery imports show {done.name} -o json")
