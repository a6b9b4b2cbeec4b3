"""bloomery models: what there is of models, what is known of them, and what becomes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._evaluations import main_metrics
from bloomery._names import enumerated, short, size
from bloomery.cli import aliases, better, foreign, merge
from bloomery.cli._making import show_version
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, VersionArgument, YesOption, connect
from bloomery.cli._output import as_json, dump, fields, listing, messages
from bloomery.cli._progress import steps
from bloomery.cli._variants import show_variants
from bloomery.cli.compare import show_comparison
from bloomery.cli.evaluate import Split
from bloomery.cli.lineage import show_model

if TYPE_CHECKING:
    from bloomery import ModelVersion
    from bloomery.inference.v1 import ModelDeletion

app = typer.Typer(help="Models: what jobs made, with proof of where it came from.", no_args_is_help=True)
app.add_typer(aliases.app, name="alias")


@app.command("list", epilog="Example: bloomery models list")
def list_(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List models, of all projects where none is given."""
    columns = {
        "MODEL": lambda model: model.id,
        "LATEST": lambda model: f"{model.id}@{model.latest_version}" if model.latest_version else "",
        "NAME": lambda model: model.name,
    }
    with connect(project) as client:
        listing(client.models(), columns, output, limit)


@app.command(epilog="Example: bloomery models versions cells-v")
def versions(
    model: Annotated[str, typer.Argument(help="Id or full name.")],
    all_: Annotated[bool, typer.Option("--all", help="Also those that are not active.")] = False,
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List the versions of a model, newest first."""
    columns = {
        "VERSION": lambda version: version.version,
        "ALIASES": lambda version: version.aliases,
        "TASK": lambda version: version.task,
        "METRICS": lambda version: main_metrics(version.metrics),
        "DATASET": lambda version: version.lineage.dataset_version,
        "CREATED": lambda version: version.create_time,
        "NOTE": lambda version: " ".join(filter(None, ("" if version.active else "(inactive)", _headline(version)))),
    }
    with connect(project) as client:
        listing(client.model(model).versions(inactive=all_), columns, output, limit)


def _headline(version: "ModelVersion") -> str:
    """What the first line of its note says."""
    return version.note.partition("\n")[0]


@app.command("show", epilog="Example: bloomery models show cells-v@1")
def show_(version: VersionArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show a version with its measurements, lineage and variants."""
    with connect(project) as client:
        show_version(client.model_version(version), output)


@app.command(epilog="Example: bloomery models variants cells-v@1")
def variants(version: VersionArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show the variants of a version side by side: size, speed, memory, accuracy."""
    with connect(project) as client:
        show_variants(client.model_version(version), output)


@app.command(epilog="Example: bloomery models forms")
def forms(output: OutputOption = Output.table) -> None:
    """List the forms that models can be made in: what runs each, how far it may be off, what it needs."""
    titles = ("FORM", "RUNTIME", "LIMITS", "NEEDS")
    with connect() as client:
        found = client.model_forms()
    messages(found, titles, [(form.id, form.runtime, form.limits, form.needs) for form in found], output)


@app.command(epilog="Example: bloomery models card cells-v@1 > cells-v-1.md")
def card(version: VersionArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Write a version's card: all that is known of it, as Markdown; -o json for tools."""
    with connect(project) as client:
        found = client.model_version(version).card()
    if output is Output.table:
        typer.echo(found.markdown(), nl=False)
    else:
        dump(as_json(found.proto), output)


@app.command(epilog="Example: bloomery models lineage cells-v@1")
def lineage(version: VersionArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show where a version comes from, down to its images, and what was made from it."""
    with connect(project) as client:
        show_model(client.model_version(version), output)


@app.command(epilog="Example: bloomery models compare cells-v@1 cells-v@2")
def compare(
    version: VersionArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER[@VERSION]", help="The version to put beside it.")],
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Put two versions side by side: figures on the same data, parameters, data, size and speed."""
    with connect(project) as client:
        show_comparison(client.model_version(version).compare(client.model_version(other)), output)


app.command("better", epilog=better.EXAMPLE)(better.run)


@app.command(epilog="Example: bloomery models update cells-v@1 --note 'misses platelets' --inactive")
def update(
    version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="Or its full name.")],
    note: Annotated[str | None, typer.Option(help="What to say of it, in place of what is said now.")] = None,
    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whether it is offered: as the newest, in lists, for aliases."),
    ] = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Change what is said of a version, or whether it is offered; by its number it works on."""
    if note is None and active is None:
        raise typer.BadParameter("give what to change: --note, --active or --inactive", param_hint="--note")
    with connect(project) as client:
        show_version(client.model_version(version).update(note=note, active=active), output)


@app.command(epilog="Example: bloomery models promote cells-v@2 --to champion --if 'test/map50 >= 0.8' --if-better")
def promote(
    version: VersionArgument,
    to: Annotated[str, typer.Option(metavar="ALIAS", help="Alias that is to name it, such as champion.")],
    if_: Annotated[
        list[str] | None,
        typer.Option(
            "--if",
            metavar="CONDITION",
            help="METRIC >= NUMBER, or with >, <=, <; METRIC of onnx-int8 for a variant. Again for more, all count.",
        ),
    ] = None,
    if_better: Annotated[
        bool, typer.Option("--if-better", help="Only if it is better than the version that the alias names now.")
    ] = False,
    on: Annotated[
        str, typer.Option(metavar="DATASET@VERSION", help="Only what was measured on it counts; the newest by default.")
    ] = "",
    split: Annotated[Split, typer.Option(help="Whose images count for --if-better.")] = Split.test,
    reason: aliases.ReasonOption = "",
    expect: aliases.ExpectOption = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Let an alias name a version if enough was measured of it: by its training, or by an evaluation since."""
    if not if_ and not if_better:
        raise typer.BadParameter("give a condition, or --if-better", param_hint="--if")
    wanted = aliases.Wanted(if_ or [], on, if_better=if_better, split=split.value)
    with connect(project) as client:
        aliases.put(client, version, to, output, reason=reason, expect=expect, wanted=wanted)


@app.command(epilog="Example: bloomery models download cells-v@1 --to ./model")
def download(
    version: VersionArgument,
    to: Annotated[Path, typer.Option(help="Folder to write to.")],
    project: ProjectOption = None,
) -> None:
    """Write the files of a version and of its ready variants to a folder."""
    with connect(project) as client, steps() as tell:
        files = client.model_version(version).download(to, progress=tell)
    for file in files:
        typer.echo(file)


app.command("import", epilog=foreign.EXAMPLE)(foreign.run)
app.command("merge", epilog=merge.EXAMPLE)(merge.run)


@app.command(epilog="Example: bloomery models delete cells-v@1 --yes")
def delete(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="The version must be said, unless --all.")],
    project: ProjectOption = None,
    all_: Annotated[bool, typer.Option("--all", help="The model MODEL with all its versions.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete a version with its variants, or a whole model, after showing it; a version's number is not used again."""
    one_version = "@" in model or "/versions/" in model
    if one_version == all_:
        raise typer.BadParameter("give MODEL@VERSION, or MODEL with --all", param_hint="MODEL@VERSION")
    with connect(project) as client:
        found = client.model(model) if all_ else client.model_version(model)
        if not yes:
            going = found.deletion()
            _show_deletion(going)
            _check_deletion(going, whole=all_)
            typer.confirm(f"Delete {found.name} with all of this?", abort=True)
        found.delete()


def _check_deletion(found: "ModelDeletion", *, whole: bool) -> None:
    """End here what the server would refuse after people have said yes."""
    if found.deployments:
        _refuse("deployments need it: let them serve another version, or delete them, `bloomery deploy delete NAME`")
    if found.model_aliases and not whole:
        move, remove = "`bloomery models alias set`", "`bloomery models alias remove`"
        _refuse(f"aliases name it: move them, {move}, or remove them, {remove}")


def _refuse(reason: str) -> None:
    typer.echo(f"It cannot be deleted while {reason}.", err=True)
    raise typer.Exit(4)


def _show_deletion(found: "ModelDeletion") -> None:
    """Write what goes."""
    rows = {
        "versions": enumerated([short(name) for name in found.model_versions]),
        "variants": enumerated([short(name) for name in found.model_variants]),
        "aliases": enumerated([short(name) for name in found.model_aliases]),
        "evaluations": found.evaluation_count or "",
        "deployments that need them": enumerated([short(name) for name in found.deployments]),
        "jobs at work on them": enumerated([short(name) for name in found.active_jobs]),
        "files": f"{found.file_count}, {size(found.total_bytes)}",
    }
    fields(rows)
