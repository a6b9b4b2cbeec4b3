"""bloomery jobs: what can be seen of jobs and done to them."""

import csv
from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._job_files import JobArgument, checkpoints, download, tensorboard
from bloomery.cli._jobs import progress, show_differences, show_job, subject
from bloomery.cli._live import follow
from bloomery.cli._options import (
    LARGEST,
    LimitOption,
    Output,
    OutputOption,
    ProjectOption,
    SeenFormat,
    YesOption,
    connect,
)
from bloomery.cli._output import dump, grid, listing
from bloomery.cli._pairs import pairs
from bloomery.cli._progress import steps

if TYPE_CHECKING:
    from bloomery import Epoch
    from bloomery.training.v1 import LogLine

app = typer.Typer(help="Jobs: training and other work that takes its time.", no_args_is_help=True)


class Level(StrEnum):
    """How serious a line of a log is."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@app.command("list", epilog="Example: bloomery jobs list --filter active")
def list_(
    project: ProjectOption = None,
    filter: Annotated[
        str,
        typer.Option(help='Terms joined by " AND ": active, state:RUNNING, kind:TRAIN, model:NAME, label.KEY:VALUE.'),
    ] = "",
    state: Annotated[str, typer.Option(help="Only those in it, such as RUNNING.")] = "",
    kind: Annotated[str, typer.Option(help="Only those of it, such as TRAIN.")] = "",
    group: Annotated[str, typer.Option(help="Only those of it.")] = "",
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only those that have it; may be repeated.")
    ] = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List jobs, newest first, of all projects where none is given."""
    columns = {
        "JOB": lambda job: job.id,
        "KIND": lambda job: job.kind,
        "STATE": lambda job: job.state,
        "PROGRESS": progress,
        "DATASET": lambda job: _short(job.proto.dataset_version),
        "MODEL": subject,
        "CREATED": lambda job: job.create_time,
        "REASON": lambda job: job.reason.code,
    }
    with connect(project) as client:
        listing(
            client.jobs(filter=" AND ".join(_terms(filter, state, kind, group, label or []))), columns, output, limit
        )


def _terms(text: str, state: str, kind: str, group: str, labels: Sequence[str]) -> list[str]:
    """The terms of a filter that options stand for, after those of `text`."""
    given = {"state": state.upper(), "kind": kind.upper(), "group": group}
    terms = [text, *(f"{key}:{value}" for key, value in given.items() if value)]
    return list(filter(None, terms)) + [f"label.{key}:{value}" for key, value in pairs(labels, "--label").items()]


@app.command("show", epilog="Example: bloomery jobs show JOB -o yaml")
def show_(job: JobArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show a job."""
    with connect(project) as client:
        found = client.job(job)
        show_job(found, output, preflight=found.preflight())


@app.command(epilog="Example: bloomery jobs watch JOB")
def watch(job: JobArgument, project: ProjectOption = None) -> None:
    """Watch a job to its end; Ctrl-C only detaches. Exits with 1 where it failed; shows what it made."""
    from bloomery.cli._making import show_version
    from bloomery.cli.evaluate import show_evaluations

    with connect(project) as client:
        found = client.job(job)
        follow(found)
        found.check()
        if found.kind in {"TRAIN", "IMPORT"}:
            show_version(found.model_version(), Output.table)
        elif found.kind == "EVALUATE":
            show_evaluations(found, Output.table)
        else:
            show_job(found, Output.table)


@app.command(epilog="Example: bloomery jobs logs JOB --tail 20 --level WARNING")
def logs(
    job: JobArgument,
    project: ProjectOption = None,
    tail: Annotated[int, typer.Option(min=0, max=LARGEST, help="Only the last so many lines; 0 for all.")] = 0,
    level: Annotated[Level, typer.Option(help="Only lines at least as serious.")] = Level.DEBUG,
) -> None:
    """Write the log of a job, oldest line first."""
    with connect(project) as client:
        for entry in client.job(job).logs(tail=tail, level=level.value):
            when = entry.time.ToDatetime().isoformat(timespec="seconds")
            typer.echo(f"{when}Z {_level(entry.line)} {entry.line.source}: {entry.line.message}")


@app.command(epilog="Example: bloomery jobs metrics JOB --csv metrics.csv")
def metrics(
    job: JobArgument,
    project: ProjectOption = None,
    csv_: Annotated[
        Path | None, typer.Option("--csv", help="Write all digits to this file, not to the screen.")
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Show what was measured at the end of each epoch, so far or to the end."""
    with connect(project) as client:
        found = client.job(job).epochs()
    names = sorted({name for epoch in found for name in epoch.values})
    if csv_:
        _write_csv(csv_, found, names)
        typer.echo(csv_)
    elif output is not Output.table:
        dump([{"epoch": epoch.epoch, "step": epoch.step, **epoch.values} for epoch in found], output)
    else:
        grid(("EPOCH", *names), [(epoch.epoch, *(epoch.values.get(name) for name in names)) for epoch in found])


@app.command(epilog="Example: bloomery jobs samples JOB --save ./seen --epoch 5")
def samples(
    job: JobArgument,
    save: Annotated[Path, typer.Option(help="Folder for pictures with the shapes drawn on them.")],
    epoch: Annotated[int, typer.Option(min=0, max=LARGEST, help="After so many epochs; the newest by default.")] = 0,
    project: ProjectOption = None,
) -> None:
    """Draw what the model of a training sees in some validation images, so far or at an earlier epoch."""
    from bloomery._archive import inside

    with connect(project) as client:
        for sample in client.job(job).samples(epoch=epoch):
            typer.echo(sample.save(inside(save, f"{sample.epoch:04}-{sample.file_name.replace('/', '_')}")))


@app.command(epilog="Example: bloomery jobs report JOB --save report.html")
def report(
    job: JobArgument,
    save: Annotated[Path, typer.Option(help="File to write.")],
    project: ProjectOption = None,
) -> None:
    """Write the page about what a finished training or evaluation has measured, which any browser shows."""
    with connect(project) as client:
        typer.echo(client.job(job).report(save))


app.command(epilog="Example: bloomery jobs download JOB --to ./made --role checkpoint")(download)
app.command(epilog="Example: bloomery jobs checkpoints JOB")(checkpoints)
app.command(epilog="Example: bloomery jobs tensorboard JOB OTHER")(tensorboard)


@app.command(epilog="Example: bloomery jobs predictions JOB --to ./seen --format parquet")
def predictions(
    job: JobArgument,
    to: Annotated[Path, typer.Option(help="Folder to write to.")],
    format: Annotated[
        list[SeenFormat] | None,
        typer.Option(help="JSON lines (the default), COCO or YOLO with scores, Parquet; may be repeated."),
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Write what a finished prediction job saw, in some formats."""
    with connect(project) as client, steps() as tell:
        found = client.job(job)
        chosen = format or [SeenFormat.jsonl]
        paths = found.write_predictions(to, formats=[one.value for one in chosen], progress=tell)
    for path in paths:
        typer.echo(path)


@app.command(epilog="Example: bloomery jobs compare JOB OTHER")
def compare(
    job: JobArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Id or full name.")],
    project: ProjectOption = None,
) -> None:
    """Show what two jobs do not have in common: parameters, data, versions of code and libraries, measurements."""
    with connect(project) as client:
        show_differences(client.job(job), client.job(other))


@app.command(epilog="Example: bloomery jobs update JOB --priority 5 --label team=cells")
def update(
    job: JobArgument,
    project: ProjectOption = None,
    name: Annotated[str | None, typer.Option(help="What people see.")] = None,
    priority: Annotated[int | None, typer.Option(min=-LARGEST, max=LARGEST, help="Larger goes first.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Added to those that it has; may be repeated.")
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Change the display name, labels or priority of a job."""
    added = pairs(label or [], "--label")
    with connect(project) as client:
        found = client.job(job)
        labels = {**found.proto.labels, **added} if added else None
        show_job(found.update(display_name=name, labels=labels, priority=priority), output)


@app.command(epilog="Example: bloomery jobs cancel JOB")
def cancel(
    job: JobArgument,
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option(help="Do not wait for a checkpoint.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Ask a job to stop, after a checkpoint."""
    with connect(project) as client:
        show_job(client.job(job).cancel(force=force), output)


@app.command(epilog="Example: bloomery jobs pause JOB")
def pause(job: JobArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Ask a job to save a checkpoint and give its machine back."""
    with connect(project) as client:
        show_job(client.job(job).pause(), output)


@app.command(epilog="Example: bloomery jobs resume JOB")
def resume(job: JobArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Let a paused job go on from its checkpoint."""
    with connect(project) as client:
        show_job(client.job(job).resume(), output)


@app.command(epilog="Example: bloomery jobs delete JOB --yes")
def delete(job: JobArgument, project: ProjectOption = None, yes: YesOption = False) -> None:
    """Delete a job that is over, with its events and checkpoints; the model that it made stays."""
    with connect(project) as client:
        found = client.job(job)
        if not yes:
            typer.confirm(f"Delete {found.id}, which is {found.state}, with its events and checkpoints?", abort=True)
        found.delete()


def _write_csv(path: Path, epochs: Sequence["Epoch"], names: Sequence[str]) -> None:
    from bloomery._files import replacing

    # A link, as /dev/stdout is, and a pipe are written to where they are.
    own = not path.is_symlink() and (path.is_file() or not path.exists())
    with (
        replacing(path) if own else nullcontext(path) as target,
        target.open("w", newline="", encoding="utf-8") as opened,
    ):
        writer = csv.writer(opened)
        writer.writerow(("epoch", "step", "time", *names))
        for epoch in epochs:
            values = (epoch.values.get(name, "") for name in names)
            writer.writerow((epoch.epoch, epoch.step, epoch.time.isoformat(), *values))


def _short(name: str) -> str:
    from bloomery._names import short

    return short(name) if name else ""


def _level(line: "LogLine") -> str:
    return line.Level.Name(line.level).removeprefix("LEVEL_")
