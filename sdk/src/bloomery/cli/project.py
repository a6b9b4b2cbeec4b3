"""bloomery project: create, list, show, rename, delete."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery import errors
from bloomery._names import counted, enumerated
from bloomery.cli._options import LimitOption, Output, OutputOption, YesOption, connect
from bloomery.cli._output import fields, listing, show, text
from bloomery.cli._progress import steps

if TYPE_CHECKING:
    from bloomery import Contents, Project

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


@app.command(epilog="Example: bloomery project delete cells --cascade")
def delete(
    project: Annotated[str, typer.Argument(help="Id or full name.")],
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="Also delete what was made from it: jobs, models, datasets. Shows it first."),
    ] = False,
    cancel_jobs: Annotated[
        bool, typer.Option("--cancel-jobs", help="With --cascade: stop jobs that are not over, at once.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Delete a project with its images and annotations, if nothing was made from it."""
    with connect() as client:
        found = client.project(project)
        if cascade:
            contents = found.contents()
            _show_contents(found, contents)
            if not cancel_jobs:
                _refuse_active(contents)
        elif not yes:
            _refuse_held(found)
        if not yes:
            what = "all of this" if cascade else counted(found.asset_count, "image")
            typer.confirm(f"Delete {found.id} with {what}?", abort=True)
        try:
            with steps() as tell:
                found.delete(cascade=cascade, cancel=cancel_jobs, progress=tell)
        except errors.FailedPrecondition as error:
            error.hint = _HINTS.get(error.reason, error.hint)
            raise


def _refuse_held(project: "Project") -> None:
    """Say before anybody is asked what the server would say after it."""
    if holders := project.holders():
        message = f"{project.name} is needed by {enumerated(holders)}"
        raise errors.FailedPrecondition(message, reason="STILL_REFERENCED", hint=_HINTS["STILL_REFERENCED"])


def _refuse_active(contents: "Contents") -> None:
    if active := contents.active_jobs:
        message = f"{counted(len(active), 'job')} not over: {enumerated(active)}"
        raise errors.FailedPrecondition(message, reason="JOBS_ACTIVE", hint=_HINTS["JOBS_ACTIVE"])


_HINTS = {
    "STILL_REFERENCED": "delete what holds it first, or all of it with --cascade, which shows it before",
    "JOBS_ACTIVE": "wait for them, or stop them with --cancel-jobs",
}


def _show_contents(project: "Project", contents: "Contents") -> None:
    parts = {
        "images": str(project.asset_count),
        "dataset versions": enumerated(contents.dataset_versions),
        "jobs": enumerated(contents.jobs),
        "jobs not over": enumerated(contents.active_jobs),
        "deployments": enumerated(contents.deployments),
        "model versions": enumerated(contents.model_versions),
    }
    fields({"project": project.name} | {title: listed for title, listed in parts.items() if listed})


def _show(project: "Project", output: Output) -> None:
    rows = {
        "name": project.name,
        "display name": project.display_name,
        "labels": text(project.proto.labels),
        "images": project.asset_count,
        "created": project.create_time,
    }
    show(project.proto, rows, output)
