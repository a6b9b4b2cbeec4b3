"""bloomery jobs: the files of jobs."""

import shlex
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bloomery._names import size
from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import dump, grid
from bloomery.cli._progress import steps

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id or full name.")]


def download(
    job: JobArgument,
    to: Annotated[Path, typer.Option(help="Folder to write to.")],
    role: Annotated[
        str, typer.Option(help="Only this file: checkpoint, metrics, evaluation, figures, report; all by default.")
    ] = "",
    checkpoint: Annotated[
        str, typer.Option(help="Instead, the files of this checkpoint: its epoch, best or last; also while it works.")
    ] = "",
    project: ProjectOption = None,
) -> None:
    """Write the files that a finished job made, or a checkpoint. What is there already does not travel again."""
    if role and checkpoint:
        raise typer.BadParameter("does not go with --role: name one of them", param_hint="--checkpoint")
    with connect(project) as client, steps() as tell:
        found = client.job(job)
        if checkpoint:
            paths = found.download_checkpoint(to, checkpoint, progress=tell)
        else:
            paths = found.download(to, role=role, progress=tell)
    for path in paths:
        typer.echo(path)


def checkpoints(job: JobArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """List the checkpoints of a job, newest first: each can be downloaded, and trainings can start from it."""
    with connect(project) as client:
        found = client.job(job).checkpoints()
    if output is not Output.table:
        dump([asdict(one) | {"create_time": one.create_time.isoformat()} for one in found], output)
        return
    grid(
        ("EPOCH", "BEST", "SIZE", "CREATED", "BASE"),
        [(one.epoch, "best" * one.best, size(one.size_bytes), one.create_time, _base(one.name)) for one in found],
    )


def tensorboard(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids or full names of finished trainings.")],
    to: Annotated[Path, typer.Option(help="Folder to write to: one below for each job.")] = Path("tensorboard"),
    project: ProjectOption = None,
) -> None:
    """Write the curves of jobs as TensorBoard reads them, and open it on them where it is installed."""
    with connect(project) as client:
        for job in jobs:
            found = client.job(job)
            found.download(to / found.id, role="tensorboard")
    program = shutil.which("tensorboard")
    if program:
        raise typer.Exit(subprocess.run([program, "--logdir", str(to)], check=False).returncode)
    typer.echo(to)
    typer.echo(f"TensorBoard is not installed here; with it: tensorboard --logdir {shlex.quote(str(to))}", err=True)


def _base(checkpoint: str) -> str:
    """A checkpoint as `bloomery train --base` takes it."""
    return checkpoint.split("/", 2)[2]
