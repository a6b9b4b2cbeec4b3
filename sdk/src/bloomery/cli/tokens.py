"""bloomery tokens: create, list, revoke."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import LimitOption, Output, OutputOption, Role, connect
from bloomery.cli._output import messages, show, taken

if TYPE_CHECKING:
    from bloomery import Token

app = typer.Typer(help="Tokens: what programs and people show to be let in.", no_args_is_help=True)
_LONGEST_DAYS = 366


@app.command(epilog="Example: bloomery tokens create --role annotator --only cells --days 30 'labelling at night'")
def create(
    display_name: Annotated[str, typer.Argument(metavar="[FOR]", help="What it is for.")] = "",
    role: Annotated[
        Role | None, typer.Option(help="The most that it may do; the most of its subject by default.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PROJECT", help="Where it may be used; everywhere by default. Repeatable."),
    ] = None,
    subject: Annotated[
        str, typer.Option(help="As whom it acts, yourself by default; others only for admins of the installation.")
    ] = "",
    days: Annotated[int, typer.Option(min=1, max=_LONGEST_DAYS, help="How long it holds.")] = 90,
) -> None:
    """Make a token and write it to stdout, the only time that it is told; what it may do goes to stderr."""
    with connect() as client:
        issued = client.create_token(
            display_name,
            subject=subject,
            role=role.value if role else None,
            projects=only or (),
            lifetime=timedelta(days=days),
        )
    where = "everywhere" if issued.projects is None else f"in {', '.join(issued.projects)}"
    typer.echo(
        f"{issued.id}: acts as {issued.subject}, at most {issued.role}, {where}, until {issued.expire_time:%Y-%m-%d}",
        err=True,
    )
    typer.echo(issued.secret)


@app.command("list", epilog="Example: bloomery tokens list --subject alice")
def list_(
    subject: Annotated[str, typer.Option(help="Only those that act as it.")] = "",
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List your tokens and those that you made, the newest first; as an admin of the installation, all."""
    with connect() as client:
        found = taken(client.tokens(subject=subject), limit)
    titles = ("TOKEN", "FOR", "SUBJECT", "AT MOST", "WHERE", "LAST USED", "ENDS")
    messages([one.proto for one in found], titles, map(_row, found), output)


@app.command(epilog="Example: bloomery tokens revoke 3de93235aa543195")
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as `bloomery tokens list` shows it.")],
    output: OutputOption = Output.table,
) -> None:
    """Refuse a token, and those that were made with it, everywhere within ten seconds."""
    with connect() as client:
        revoked = client.revoke_token(token)
    rows = {"token": revoked.id, "subject": revoked.subject, "revoked": revoked.revoke_time}
    show(revoked.proto, rows, output)


def _row(token: "Token") -> list[object]:
    where = "everywhere" if token.projects is None else ", ".join(token.projects) or "no project that you see"
    ends = "revoked" if token.revoke_time else token.expire_time
    return [token.id, token.display_name, token.subject, token.role, where, token.last_use_time or "never", ends]
