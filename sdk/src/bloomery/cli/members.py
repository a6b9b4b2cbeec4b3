"""bloomery members: list, add, remove."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, Role, connect
from bloomery.cli._output import messages, show, taken

if TYPE_CHECKING:
    from bloomery import Member

app = typer.Typer(help="Members: who may do what in a project, or in all.", no_args_is_help=True)

SubjectArgument = Annotated[str, typer.Argument(metavar="WHO", help="A person's or program's name, or group:NAME.")]
AllOption = Annotated[
    bool, typer.Option("--all", help="In the whole installation: in every project, those to come too.")
]


@app.command("list", epilog="Example: bloomery members list --project cells")
def list_(
    project: ProjectOption = None,
    everywhere: AllOption = False,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List who has a role in a project, or in all."""
    with connect(project) as client:
        found = taken(client.members(_place(project, everywhere)), limit)
    rows = ([one.subject, one.role, one.creator, one.create_time] for one in found)
    messages([one.proto for one in found], ("WHO", "ROLE", "BY", "SINCE"), rows, output)


@app.command(epilog="Example: bloomery members add alice --role annotator --project cells")
def add(
    subject: SubjectArgument,
    role: Annotated[Role, typer.Option(help="What they may do.")],
    project: ProjectOption = None,
    everywhere: AllOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Give somebody a role, or another one than they have."""
    with connect(project) as client:
        _show(client.set_member(subject, role.value, project=_place(project, everywhere)), output)


@app.command(epilog="Example: bloomery members remove alice --project cells")
def remove(subject: SubjectArgument, project: ProjectOption = None, everywhere: AllOption = False) -> None:
    """Take somebody's role away."""
    with connect(project) as client:
        client.remove_member(subject, project=_place(project, everywhere))


def _place(project: str | None, everywhere: bool) -> str | None:
    return "-" if everywhere else project


def _show(member: "Member", output: Output) -> None:
    where = "all projects" if member.proto.parent == "projects/-" else member.proto.parent
    show(member.proto, {"who": member.subject, "role": member.role, "where": where, "by": member.creator}, output)
