"""Errors as people see them, and as scripts do."""

from rich.console import Console
from rich.markup import escape

from bloomery import errors
from bloomery.errors import BloomeryError

_MOST_VIOLATIONS = 20
_CODES: tuple[tuple[type[BloomeryError], int], ...] = (
    (errors.WorkFailed, 1),
    (errors.NotFound, 3),
    (errors.InvalidArgument, 4),
    (errors.AlreadyExists, 4),
    (errors.FailedPrecondition, 4),
    (errors.Conflict, 4),
    (errors.OutOfRange, 4),
    (errors.ResourceExhausted, 4),
    (errors.Unsupported, 4),
    (errors.Unavailable, 5),
    (errors.TransferFailed, 5),
    (errors.Unauthenticated, 6),
    (errors.PermissionDenied, 6),
)


def exit_code(error: BloomeryError) -> int:
    """The exit code of an error; 1 for what has none of its own."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)


def report(error: BloomeryError) -> None:
    """Write an error with its reason, all violations and a hint to stderr."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    violations = error.violations if isinstance(error, errors.InvalidArgument) else ()
    message = f"{len(violations)} things are wrong" if len(violations) > 1 else error.message
    console.print(f"[bold red]error:[/] {escape(message)}")
    if len(violations) > 1:
        for violation in violations[:_MOST_VIOLATIONS]:
            console.print(f"  {escape(violation.where)}: {escape(violation.description)}")
        if len(violations) > _MOST_VIOLATIONS:
            console.print(f"  and {len(violations) - _MOST_VIOLATIONS} more")
    console.print(f"[dim]reason: {escape(error.reason)}[/]")
    if error.hint:
        console.print(f"[yellow]hint:[/] {escape(error.hint)}")
