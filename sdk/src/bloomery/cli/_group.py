"""The root command: it adds what other distributions bring and turns errors into exit codes."""

import errno
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bloomery.cli._failures import exit_code, report
from bloomery.errors import BloomeryError

_ORDER = [
    "up",
    "project",
    "import",
    "imports",
    "assets",
    "labels",
    "annotations",
    "dataset",
    "export",
    "recipes",
    "train",
    "jobs",
    "groups",
    "reproduce",
    "models",
    "evaluate",
    "optimize",
    "predict",
    "predict-batch",
    "version",
]
"""That of a first session; what is not here comes last."""


class Group(TyperGroup):
    """All commands, our own and those of plugins."""

    @cached_property
    def _plugins(self) -> Mapping[str, "_Plugin"]:
        return {found.name: _Plugin(found) for found in entry_points(group="bloomery.commands")}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """Names of all commands in their order."""
        return sorted({*self._plugins, *self.commands}, key=lambda name: (*_ORDER, name).index(name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """A command by name; a plugin's is not imported for this."""
        return self.commands.get(cmd_name) or self._plugins.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what goes wrong is told on stderr and by the exit code."""
        try:
            return super().invoke(ctx)
        except BloomeryError as error:
            report(error)
            raise typer.Exit(exit_code(error)) from None
        except OSError as error:
            # A reader that went away, such as `head`, is nobody's fault.
            if error.errno == errno.EPIPE:
                raise
            report(BloomeryError(str(error), reason="FILE"))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


class _Plugin(TyperCommand):
    """A command of another distribution, imported when it is run."""

    def __init__(self, entry_point: EntryPoint) -> None:
        summary = entry_point.dist.metadata["Summary"] if entry_point.dist else ""
        super().__init__(name=entry_point.name, help=summary)
        self._entry_point = entry_point

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and let it read its own arguments."""
        plugin = typer.Typer(add_completion=False)
        plugin.command(self.name)(self._entry_point.load())
        return typer.main.get_command(plugin).make_context(info_name, args, parent=parent, **extra)
