"""`bloomery migrate`: the command."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import Output, OutputOption

if TYPE_CHECKING:
    from bloomery_server.migrate.report import Report


def migrate(
    source: Annotated[Path, typer.Option("--from", help="Data folder of a stopped `bloomery up`.")],
    dry_run: Annotated[bool, typer.Option(help="Say what would be moved and what stands in the way.")] = False,
    verify_only: Annotated[bool, typer.Option(help="Compare both sides, and change nothing.")] = False,
    allow_missing: Annotated[bool, typer.Option(help="Leave missing and damaged files behind.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Move an installation of `bloomery up` into PostgreSQL and a bucket, with all ids and all history.

    The target is named as for the services: BLOOMERY_DATABASE_URL, BLOOMERY_OBJECT_STORE__ENDPOINT, __BUCKET,
    __ACCESS_KEY, __SECRET_KEY and BLOOMERY_OBJECT_STORE__KIND=s3. Interrupted, it is called again and goes on.

    Example: bloomery migrate --from ~/.local/share/bloomery --dry-run
    """
    # Imported here, so that `bloomery --help` stays quick.
    from sqlalchemy.exc import DBAPIError

    from bloomery_kit.errors import BloomeryError
    from bloomery_kit.settings import load_settings
    from bloomery_server.migrate.failures import as_told
    from bloomery_server.migrate.run import Wish, run
    from bloomery_server.migrate.settings import MigrationSettings

    if dry_run and verify_only:
        raise typer.BadParameter("goes without --dry-run", param_hint="--verify-only")
    settings = load_settings(MigrationSettings)
    wish = Wish(dry_run=dry_run, verify_only=verify_only, allow_missing=allow_missing)
    root = source.expanduser()
    try:
        report = asyncio.run(run(root, settings, wish, tell=lambda text: typer.echo(text, err=True)))
    except (BloomeryError, DBAPIError) as error:
        raise as_told(error) from error
    _show(report, output)
    if report.obstacles or report.differences:
        raise typer.Exit(1)


def _show(report: "Report", output: Output) -> None:
    from bloomery.cli._output import dump, grid
    from bloomery_server.migrate.report import STAYS, lines

    if output is not Output.table:
        dump(report.as_json(), output)
        return
    typer.echo(f"from  {report.source}\nto    {report.target}\n")
    grid(["WHAT", "COUNT"], lines(report))
    for title, texts in (
        ("missing", report.missing),
        ("damaged", report.damaged),
        ("note", report.notes),
        ("stays", STAYS),
        ("different", report.differences),
    ):
        for text in texts[:20]:
            typer.echo(f"{title}: {text}")
        if len(texts) > 20:
            typer.echo(f"{title}: and {len(texts) - 20} more")
    for obstacle in report.obstacles:
        typer.echo(f"in the way: {obstacle.message}\n  hint: {obstacle.hint}")
    typer.echo(f"\n{report.state}")
