"""The root command: it loads the others, adds what other distributions bring and turns errors into exit codes."""

import errno
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bloomery.errors import BloomeryError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_FIRST = ("up",)
_COMMANDS = {
    "project": "project",
    "import": "imports:run",
    "imports": "imports",
    "assets": "assets",
    "labels": "labels",
    "annotations": "annotations",
    "dataset": "dataset",
    "export": "export:run",
    "recipes": "recipes",
    "augment": "augment",
    "train": "train:run",
    "jobs": "jobs",
    "groups": "groups",
    "reproduce": "reproduce:run",
    "models": "models",
    "evaluate": "evaluate:run",
    "optimize": "optimize:run",
    "benchmark": "benchmark:run",
    "deploy": "deploy",
    "predict": "predict:run",
    "predict-batch": "predict_batch:run",
    "suggestions": "suggestions",
    "members": "members",
    "tokens": "tokens",
    "whoami": "whoami:run",
    "quota": "quota",
    "audit": "audit",
    "version": "version:run",
}
"""Where our own commands are, in the order of a first session: a module, whose `app` is a group, or its function."""


class Group(TyperGroup):
    """All commands, our own and those of plugins."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # Imported when they are looked up; what typer reads here itself are the names.
        self.commands = dict.fromkeys(_COMMANDS)  # type: ignore[assignment]

    @cached_property
    def _plugins(self) -> Mapping[str, "_Plugin"]:
        from importlib.metadata import entry_points

        return {found.name: _Plugin(found) for found in entry_points(group="bloomery.commands")}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """Names of all commands in their order; those that are in no order come last."""
        order = [*_FIRST, *self.commands]
        return sorted({*self._plugins, *self.commands}, key=lambda name: [*order, name].index(name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """A command by name; a plugin's is not imported for this."""
        if cmd_name in _COMMANDS:
            return _build(cmd_name, *_COMMANDS[cmd_name].split(":"))
        return self._plugins.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what goes wrong is told on stderr and by the exit code."""
        try:
            return super().invoke(ctx)
        except BloomeryError as error:
            raise typer.Exit(_told(error)) from None
        except OSError as error:
            # A reader that went away, such as `head`, is nobody's fault.
            if error.errno == errno.EPIPE:
                raise
            raise typer.Exit(_told(BloomeryError(str(error), reason="FILE"))) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _told(error: BloomeryError) -> int:
    from bloomery.cli._failures import exit_code, report

    report(error)
    return exit_code(error)


def _build(name: str, module: str, function: str = "") -> Any:
    found = import_module(f"bloomery.cli.{module}")
    if function:
        return _single(name, getattr(found, function), found.EXAMPLE)
    group = typer.main.get_group(found.app)
    group.name = name
    return group


def _single(name: str | None, function: Callable[..., Any], epilog: str | None = None) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, epilog=epilog)(function)
    return typer.main.get_command(app)


class _Plugin(TyperCommand):
    """A command of another distribution, imported when it is run."""

    def __init__(self, entry_point: "EntryPoint") -> None:
        summary = entry_point.dist.metadata["Summary"] if entry_point.dist else ""
        super().__init__(name=entry_point.name, help=summary)
        self._entry_point = entry_point

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and let it read its own arguments."""
        command = _single(self.name, self._entry_point.load())
        return command.make_context(info_name, args, parent=parent, **extra)
