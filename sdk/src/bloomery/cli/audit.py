"""bloomery audit: list."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import id_of
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import messages, taken

if TYPE_CHECKING:
    from bloomery.access.v1 import AuditEntry

app = typer.Typer(help="The audit log: what people did.", no_args_is_help=True)

TimeOption = typer.Option(metavar="TIME", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


@app.callback()
def _group() -> None:
    """Let `list` be a command of its own, though there is no other one."""


@app.command("list", epilog="Example: bloomery audit list --project cells --method DeleteAsset --since 2026-11-01")
def list_(
    since: Annotated[datetime | None, TimeOption] = None,
    until: Annotated[datetime | None, TimeOption] = None,
    subject: Annotated[str, typer.Option(help="Who called.")] = "",
    method: Annotated[str, typer.Option(help="What was called, such as CreateJob.")] = "",
    outcome: Annotated[
        str, typer.Option(help="A code such as OK or PERMISSION_DENIED; FAILED for all but OK; UNFINISHED.")
    ] = "",
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List what people did, newest first: in a project as its admin, in all as an admin of the installation.

    Times without a zone are in UTC.
    """
    with connect(project) as client:
        found = client.audit_entries(
            since=_aware(since), until=_aware(until), subject=subject, method=method, outcome=outcome
        )
        shown = taken(found, limit)
    titles = ("TIME", "SUBJECT", "METHOD", "RESOURCE", "OUTCOME", "REASON")
    messages(shown, titles, map(_row, shown), output)


def _row(entry: "AuditEntry") -> tuple[object, ...]:
    time = entry.time.ToDatetime(UTC)
    return time, entry.subject, id_of(entry.method), entry.resource, entry.code or "unknown", entry.reason


def _aware(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
