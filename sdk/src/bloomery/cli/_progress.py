"""Long work on stderr: bars on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bloomery.cli._output import is_terminal

if TYPE_CHECKING:
    from bloomery import Step

_PARTS = 10
"""Lines for one phase where there are no bars."""


@contextmanager
def steps() -> Iterator[Callable[["Step"], None]]:
    """Show the steps that the given function is told about until the work is over."""
    if not is_terminal(sys.stderr):
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def tell(step: "Step") -> None:
            if step.phase not in tasks:
                tasks[step.phase] = bars.add_task(step.phase)
            bars.update(tasks[step.phase], completed=step.done, total=step.total or None)

        yield tell


class _Lines:
    """One line for each tenth of a phase."""

    def __init__(self) -> None:
        self._told: tuple[str, int] = ("", -1)

    def __call__(self, step: "Step") -> None:
        """Write a line where the phase or the tenth is a new one."""
        part = _PARTS * step.done // step.total if step.total else 0
        if (step.phase, part) != self._told:
            self._told = (step.phase, part)
            count = f" {step.done}/{step.total}" if step.total else ""
            sys.stderr.write(f"{step.phase}{count}\n")
