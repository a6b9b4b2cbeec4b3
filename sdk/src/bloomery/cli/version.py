"""bloomery version."""

from importlib.metadata import version

import typer

from bloomery.cli._options import connect

EXAMPLE = "Example: bloomery version"


def run() -> None:
    """Show the version of this command, and of the server that it talks to."""
    typer.echo(f"client  {version('bloomery')}")
    with connect() as client:
        typer.echo(f"server  {client.server_version() or 'unknown'}")
