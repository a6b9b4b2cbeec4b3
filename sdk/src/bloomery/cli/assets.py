"""bloomery assets: list, show, set, delete."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import counted, size
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, YesOption, connect
from bloomery.cli._output import listing, show
from bloomery.cli._pairs import pairs
from bloomery.cli._progress import steps
from bloomery.cli.lineage import show_asset

if TYPE_CHECKING:
    from bloomery import Step
    from bloomery._aio.data import SplitName


class Split(StrEnum):
    """Parts of an official split."""

    train = "train"
    val = "val"
    test = "test"
    none = "none"


_SPLITS: "Mapping[Split, SplitName]" = {Split.train: "train", Split.val: "val", Split.test: "test", Split.none: ""}

app = typer.Typer(help="Assets: the images of a project.", no_args_is_help=True)


@app.command("list", epilog="Example: bloomery assets list --project cells --filter label:rbc")
def list_(
    project: ProjectOption = None,
    filter: Annotated[
        str,
        typer.Option(
            help="One of annotated, unannotated, suggested, label:LABEL, split:NAME, name:TEXT; all by default."
        ),
    ] = "",
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List images."""
    columns = {
        "ASSET": lambda asset: asset.id,
        "NAME": lambda asset: asset.display_name,
        "WIDTH": lambda asset: asset.proto.width,
        "HEIGHT": lambda asset: asset.proto.height,
        "SPLIT": lambda asset: asset.split,
    }
    with connect(project) as client:
        listing(client.project(project).assets(filter=filter), columns, output, limit)


@app.command("show", epilog="Example: bloomery assets show ASSET --project cells")
def show_(
    asset: Annotated[str, typer.Argument(help="Id, file name or full name.")],
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show an image."""
    with connect(project) as client:
        found = client.asset(asset)
    rows = {
        "name": found.name,
        "display name": found.display_name,
        "digest": found.digest,
        "size": size(found.proto.size_bytes),
        "type": found.proto.media_type,
        "pixels": f"{found.proto.width} x {found.proto.height}",
        "split": found.split,
    }
    show(found.proto, rows, output)


@app.command(epilog="Example: bloomery assets lineage cam1/0001.jpg --project cells")
def lineage(
    asset: Annotated[str, typer.Argument(help="Id, file name or full name.")],
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show which dataset versions hold an image, and which models were made from them."""
    with connect(project) as client:
        show_asset(client.asset(asset), output)


@app.command("set", epilog="Example: bloomery assets set --filter name:holdout/ --split test --project cells")
def change(
    assets: Annotated[
        list[str] | None, typer.Argument(metavar="ASSET...", help="Ids, file names or full names.")
    ] = None,
    filter: Annotated[
        str | None, typer.Option(metavar="FILTER", help="Instead, all images that `assets list` lists with it.")
    ] = None,
    split: Annotated[Split | None, typer.Option(help="Part of the official split that they belong to.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Added to those that they have; may be repeated.")
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Set the official split or labels of images, for dataset versions that are built from now on."""
    if bool(assets) == bool(filter):
        raise typer.BadParameter("give images, or --filter", param_hint="ASSET...")
    added = pairs(label or [], "--label")
    if split is None and not added:
        raise typer.BadParameter("say what to set", param_hint="--split")
    with connect(project) as client, steps() as tell:
        found = list(client.project(project).assets(filter=filter)) if filter else list(map(client.asset, assets or []))
        for number, asset in enumerate(found, 1):
            labels = {**asset.proto.labels, **added} if added else None
            asset.update(split=_SPLITS[split] if split else None, labels=labels)
            tell(_step(number, len(found)))
    typer.echo(f"{counted(len(found), 'image')} changed")


def _step(done: int, total: int) -> "Step":
    from bloomery import Step

    return Step("changing", done, total)


@app.command(epilog="Example: bloomery assets delete ASSET --project cells --yes")
def delete(
    asset: Annotated[str, typer.Argument(help="Id, file name or full name.")],
    project: ProjectOption = None,
    yes: YesOption = False,
) -> None:
    """Delete an image with its annotations; dataset versions that hold it keep it."""
    with connect(project) as client:
        found = client.asset(asset)
        if not yes:
            typer.confirm(f"Delete {found.display_name or found.id} with its annotations?", abort=True)
        found.delete()
