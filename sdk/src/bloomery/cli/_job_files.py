"""bloomery jobs: the files of jobs."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import size
from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import dump, grid
from bloomery.cli._progress import steps
from bloomery.errors import BloomeryError, FailedPrecondition, NotFound

if TYPE_CHECKING:
    from bloomery import Job

_SECONDS = 10
"""Between two looks at jobs that are at work."""

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
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids or full names of trainings.")],
    to: Annotated[Path, typer.Option(help="Folder to write to: one below for each job.")] = Path("tensorboard"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Open TensorBoard on them, with what comes meanwhile.")
    ] = False,
    project: ProjectOption = None,
) -> None:
    """Write what TensorBoard shows of trainings, also while they are at work."""
    program = shutil.which("tensorboard") if serve else None
    if serve and program is None:
        hint = "install it, such as with `pip install tensorboard` or `uv tool install tensorboard`"
        raise FailedPrecondition("TensorBoard is not installed here", hint=hint)
    with connect(project) as client:
        found = [client.job(job) for job in jobs]
        _fetch(found, to)
        if program:
            raise typer.Exit(_serve(program, found, to))
    typer.echo(to)
    typer.echo(f"to look at it: tensorboard --logdir {shlex.quote(str(to))}", err=True)


def _fetch(jobs: Sequence["Job"], to: Path) -> None:
    for job in jobs:
        if not job.download_events(to / job.id):
            typer.echo(f"{job.id} has nothing to show: it is {job.state}", err=True)


def _serve(program: str, jobs: Sequence["Job"], to: Path) -> int:
    """Run TensorBoard until it ends, and fetch what the jobs write meanwhile; return its exit code."""
    running = [job for job in jobs if not job.is_terminal]
    with subprocess.Popen([program, "--logdir", str(to), "--reload_interval", str(_SECONDS)]) as process:
        try:
            while True:
                try:
                    return process.wait(_SECONDS if running else None)
                except subprocess.TimeoutExpired:
                    running = [job for job in running if _goes_on(job, to)]
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()
        finally:
            process.terminate()


def _goes_on(job: "Job", to: Path) -> bool:
    """Fetch what a job wrote meanwhile; return whether more may come."""
    try:
        job.refresh()
        job.download_events(to / job.id)
    except NotFound:
        typer.echo(f"{job.id} is not there any more", err=True)
        return False
    except BloomeryError as problem:
        typer.echo(f"{job.id} cannot be read, and is tried again: {problem.message}", err=True)
        return True
    return not job.is_terminal


def _base(checkpoint: str) -> str:
    """A checkpoint as `bloomery train --base` takes it."""
    return checkpoint.split("/", 2)[2]
