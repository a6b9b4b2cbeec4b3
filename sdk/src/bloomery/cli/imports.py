"""bloomery import, and bloomery imports: list, show."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import listing, show
from bloomery.cli._plans import left, show_plan, splits, tell, tell_doubts, tell_problems, tell_unsent
from bloomery.cli._progress import steps

if TYPE_CHECKING:
    from bloomery import Import
    from bloomery.annotation.v1 import Import as ImportMessage

_LOST = "the files have some, and the problems above say what is wrong with them"
EXAMPLE = "Example: bloomery import ./blood-cells --project cells --format voc"

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
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Show how the folder is understood, and import nothing. It sees no copies of images.",
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take doubts and problems for errors.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Import a folder of images, labelled or not; again after a correction. Only what is missing travels.

    Ends with 1 where no image got an annotation (images that the files call empty do not count where objects of others
    were lost), unless `--format images` says that none should.
    """
    from bloomery._folders import untold

    with connect(project) as client, steps() as told:
        target = client.project(project)
        try:
            if plan:
                done = target.plan_import(folder, format=format.value if format else None, progress=told)
            else:
                done = target.import_folder(
                    folder, format=format.value if format else None, strict=strict, progress=told
                )
        except KeyboardInterrupt:
            tell("stopped: nothing that the server has is lost; the same command goes on where this one was")
            raise
    if plan:
        show_plan(done, output)
        doubtful = strict and (done.plan.doubts or done.plan.without_image.count or untold(done.skipped))
        raise typer.Exit(1 if done.plan.stops or doubtful else 0)
    _show(done, output)
    nothing = _annotates_nothing(done) and format is not FolderFormat.images
    if nothing and output is Output.table:
        why = _LOST if _loses_objects(done.proto) else "if none should, import with --format images"
        tell(f"no image got an annotation; {why}")
    raise typer.Exit(1 if nothing or (strict and done.proto.problem_count) else 0)


def _annotates_nothing(done: "Import") -> bool:
    """Whether no image has an object, though one should; images that files call empty are none that lost theirs."""
    if done.outcomes.annotated:
        return False
    return not done.outcomes.empty or _loses_objects(done.proto)


def _loses_objects(proto: "ImportMessage") -> bool:
    return any(one.severity == one.SEVERITY_ERROR and "#" in one.path for one in proto.problems)


@app.command("list", epilog="Example: bloomery imports list --project cells")
def list_(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List imports and plans of imports, newest first."""
    columns = {
        "IMPORT": lambda one: one.id,
        "KIND": lambda one: "plan" if one.proto.plan_only else "import",
        "STATE": lambda one: one.state,
        "FORMAT": lambda one: one.format,
        "FOLDER": lambda one: one.proto.display_name,
        "IMAGES": lambda one: "" if one.proto.plan_only else f"{one.proto.done_count}/{one.proto.item_count}",
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
    if found.proto.plan_only:
        show_plan(found, output)
    else:
        _show(found, output)


def _show(done: "Import", output: Output) -> None:
    proto, outcomes = done.proto, done.outcomes
    rows = {
        "name": done.name,
        "state": done.state,
        "error": proto.error.message,
        "format": done.format,
        "images": f"{proto.done_count}/{proto.item_count}",
        "annotated": outcomes.annotated,
        "empty": outcomes.empty or "",
        "not annotated": outcomes.unannotated or "",
        "failed": outcomes.failed or "",
        "repeated": outcomes.repeated or "",
        "left alone": left(done.plan),
        "splits": splits(done.plan),
        "new images": proto.asset_count,
        "shapes saved": proto.shape_count,
        "as before": proto.unchanged_count or "",
        "split changed": proto.split_count or "",
        "edited since": proto.edited_count or "",
    }
    show(proto, rows, output)
    if output is Output.table:
        tell_unsent(done.skipped)
        tell_doubts(done.plan)
        tell_problems(done)
