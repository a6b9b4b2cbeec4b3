"""bloomery assets: list, show, delete."""

from typing import Annotated

import typer

from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, YesOption, connect
from bloomery.cli._output import listing, show, size

app = typer.Typer(help="Assets: the images of a project.", no_args_is_help=True)


@app.command("list", epilog="Example: bloomery assets list --project cells --filter label:rbc")
def list_(
    project: ProjectOption = None,
    filter: Annotated[
        str, typer.Option(help="One of annotated, unannotated, label:ID, split:NAME, name:TEXT; all by default.")
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
    asset: Annotated[str, typer.Argument(help="Id or full name.")],
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


@app.command(epilog="Example: bloomery assets delete ASSET --project cells --yes")
def delete(
    asset: Annotated[str, typer.Argument(help="Id or full name.")],
    project: ProjectOption = None,
    yes: YesOption = False,
) -> None:
    """Delete an image with its annotations; dataset versions that hold it keep it."""
    with connect(project) as client:
        found = client.asset(asset)
        if not yes:
            typer.confirm(f"Delete {found.display_name or found.id} with its annotations?", abort=True)
        found.delete()
