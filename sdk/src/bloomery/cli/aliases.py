"""bloomery models alias: set, list, history, remove."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery import errors
from bloomery._names import id_of, parent_of, short
from bloomery.cli._options import LARGEST, LimitOption, Output, OutputOption, ProjectOption, YesOption, connect
from bloomery.cli._output import listing, messages, show

if TYPE_CHECKING:
    from bloomery import Client, ModelAlias
    from bloomery.inference.v1 import AliasComparison, ConditionFigure, FigureDifference

app = typer.Typer(help="Aliases: names for versions that can be moved, such as champion.", no_args_is_help=True)

AliasArgument = Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="Or its full name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for its history.")]
ExpectOption = Annotated[
    int | None,
    typer.Option(
        "--expect",
        metavar="VERSION",
        min=0,
        max=LARGEST,
        help="Only if it names this version now, 0 for none; what it names when the command starts by default.",
    ),
]


@app.command("set", epilog="Example: bloomery models alias set cells-v@2 champion --reason 'fewer misses'")
def set_(
    version: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="The newest version by default.")],
    alias: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens, such as champion.")],
    reason: ReasonOption = "",
    expect: ExpectOption = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Let an alias name a version: a new one, or one that named another version."""
    with connect(project) as client:
        put(client, version, alias, output, reason=reason, expect=expect)


@app.command("list", epilog="Example: bloomery models alias list cells-v")
def list_(
    model: Annotated[str, typer.Argument(help="Id or full name.")],
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List the aliases of a model."""
    columns = {
        "ALIAS": lambda alias: alias.id,
        "VERSION": lambda alias: short(alias.model_version),
        "SINCE": lambda alias: alias.update_time,
        "BY": lambda alias: alias.updater,
        "REASON": lambda alias: alias.reason,
    }
    with connect(project) as client:
        listing(client.model(model).aliases(), columns, output, limit)


@app.command(epilog="Example: bloomery models alias history cells-v@champion")
def history(alias: AliasArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """List all changes of an alias, the last first."""
    with connect(project) as client:
        changes = list(client.alias_history(alias))
    rows = [
        (
            one.time,
            short(one.from_version),
            short(one.to_version) or "removed",
            one.changer,
            one.reason,
            _all_measured(one.figures, one.proto.comparison),
        )
        for one in changes
    ]
    messages([one.proto for one in changes], ("WHEN", "FROM", "TO", "BY", "REASON", "MEASURED"), rows, output)


@app.command(epilog="Example: bloomery models alias remove cells-v@champion --yes")
def remove(
    alias: AliasArgument, reason: ReasonOption = "", project: ProjectOption = None, yes: YesOption = False
) -> None:
    """Remove an alias; its version and its history stay."""
    with connect(project) as client:
        found = client.model_alias(alias)
        if not yes:
            typer.confirm(f"Remove {found.id}, which names {short(found.model_version)}?", abort=True)
        found.remove(reason=reason, expected=int(id_of(found.model_version)))


@dataclass(frozen=True)
class Wanted:
    """What must have been measured of a version: see `ModelVersion.set_alias`."""

    conditions: Sequence[str] = ()
    on: str = ""
    if_better: bool = False
    split: str = "test"


def put(
    client: "Client",
    version: str,
    alias: str,
    output: Output,
    *,
    reason: str,
    expect: int | None,
    wanted: Wanted = Wanted(),
) -> None:
    """Let an alias name a version, if it names the expected one or else the one that it names now, and write it."""
    found = client.model_version(version)
    before = _current(client, f"{parent_of(found.name)}/aliases/{alias}")
    expected = before if expect is None else expect
    made = found.set_alias(
        alias,
        reason=reason,
        expected=expected,
        conditions=wanted.conditions,
        on=wanted.on,
        if_better=wanted.if_better,
        split=wanted.split,
    )
    _show(made, output, before=before)


def _current(client: "Client", name: str) -> int:
    """Number of the version that an alias names, 0 where there is no such alias."""
    with suppress(errors.NotFound):
        return int(id_of(client.model_alias(name).model_version))
    return 0


def _show(alias: "ModelAlias", output: Output, *, before: int) -> None:
    """Write an alias that was just set, and which version it named before."""
    model = id_of(parent_of(alias.name))
    already = ", which it named already" if id_of(alias.model_version) == str(before) else ""
    rows = {
        "name": alias.name,
        "version": short(alias.model_version),
        "before": f"{model}@{before}{already}" if before else "",
        "by": alias.updater,
        "reason": alias.reason,
        "measured": _all_measured(alias.figures, alias.proto.comparison),
    }
    show(alias.proto, rows, output)


def _all_measured(figures: "Sequence[ConditionFigure]", outdone: "AliasComparison") -> str:
    return ", ".join([*map(_measured, figures), *map(_better, outdone.comparison.differences[:1])])


def _better(first: "FigureDifference") -> str:
    return f"{first.metric} {first.other_value:.4g}, better than {first.value:.4g} ({first.lower:+.4g} at least)"


def _measured(figure: "ConditionFigure") -> str:
    from bloomery._conditions import written

    return (
        f"{figure.value:.4g} for {written(figure.condition)} by {id_of(figure.job)} on {short(figure.dataset_version)}"
    )
