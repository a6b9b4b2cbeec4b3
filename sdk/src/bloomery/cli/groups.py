"""bloomery groups: jobs that belong together."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._history import headline
from bloomery.cli._jobs import show_job
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import grid, listing, show

if TYPE_CHECKING:
    from bloomery import Job, JobGroup

app = typer.Typer(help="Groups of jobs, such as the trainings of a search.", no_args_is_help=True)

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Id or full name.")]


@app.command("list", epilog="Example: bloomery groups list --project cells")
def list_(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List the groups of a project."""
    columns = {
        "GROUP": lambda group: group.id,
        "JOBS": lambda group: group.proto.job_count,
        "STATES": _states,
        "PROGRESS": lambda group: f"{group.fraction:.0%}",
        "CREATED": lambda group: group.create_time,
    }
    with connect(project) as client:
        listing(client.job_groups(), columns, output, limit)


@app.command("show", epilog="Example: bloomery groups show sweep")
def show_(group: GroupArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show a group: its jobs with the parameters in which they differ, and what was measured."""
    with connect(project) as client:
        show_group(client.job_group(group), output)


@app.command(epilog="Example: bloomery groups cancel sweep")
def cancel(
    group: GroupArgument,
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option(help="Do not wait for checkpoints.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Ask all jobs of a group to stop, after a checkpoint."""
    with connect(project) as client:
        show_group(client.job_group(group).cancel(force=force), output)


@app.command(epilog="Example: bloomery groups best sweep --by recall/platelets")
def best(
    group: GroupArgument,
    by: Annotated[
        str, typer.Option(help="Measurement, such as map50; by default best_by of the jobs, else map50_95 or accuracy.")
    ] = "",
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show the job of a group with the best measurement, of those that have succeeded."""
    with connect(project) as client:
        show_job(client.job_group(group).best(by), output)


def show_search(group: "JobGroup", output: Output, *, follow: bool) -> None:
    """Write a group that was just created; with `follow`, when all its jobs are over.

    Raises:
        JobFailed: some that were followed ended FAILED or CANCELLED.
    """
    if follow:
        _follow(group)
    show_group(group, output)
    if follow:
        group.check()


def _follow(group: "JobGroup") -> None:
    """Wait until all jobs of a group are over, and tell the end of each as it comes."""
    for job in sorted(group.jobs(), key=lambda job: job.create_time):
        for _ in job.watch(after=job.proto.last_sequence):
            pass
        typer.echo(f"{job.id} {job.state} {_measured(job)}".rstrip(), err=True)
    group.refresh()


def show_group(group: "JobGroup", output: Output) -> None:
    """Write a group with its jobs."""
    rows = {
        "name": group.name,
        "states": _states(group),
        "progress": f"{group.fraction:.0%}",
        "created": group.create_time,
    }
    show(group.proto, rows, output)
    if output is Output.table:
        jobs = list(group.jobs())
        given = [dict(job.proto.effective_parameters) for job in jobs]
        names = _differing(given)
        cells = [
            (job.id, job.state, *(each.get(name) for name in names), _measured(job))
            for job, each in zip(jobs, given, strict=True)
        ]
        grid(("JOB", "STATE", *names, "METRICS"), cells)


def _states(group: "JobGroup") -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(group.states.items()))


def _measured(job: "Job") -> str:
    return headline(sorted(job.metrics.items()))


def _differing(parameters: Sequence[Mapping[str, object]]) -> list[str]:
    """The names of the parameters that not all jobs have alike."""
    names = dict.fromkeys(name for each in parameters for name in each)
    return [name for name in names if len({repr(each.get(name)) for each in parameters}) > 1]
