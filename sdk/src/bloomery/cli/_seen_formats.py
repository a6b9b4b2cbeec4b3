"""Formats of predictions, as the command line takes them."""

from collections.abc import Sequence

import typer

from bloomery.cli._options import SeenFormat


def refuse_formats(formats: Sequence[SeenFormat], task: str) -> None:
    """Refuse those that cannot hold what a model of a task sees, or that nothing here writes.

    Raises:
        FailedPrecondition: what writes one is not installed.
    """
    from bloomery._seen_files import check, holding

    held = holding(task)
    if unable := [one for one in formats if one not in held]:
        text = f"{unable[0]} cannot hold what a model of {task} sees; take {' or '.join(held)}"
        raise typer.BadParameter(text, param_hint="--format")
    check(formats, task, outlines=True)
