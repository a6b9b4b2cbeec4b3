"""What a check has to say about data: a value, never an exception, because one check has many of them."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs."""

    ERROR = "error"
    """The thing it names cannot be used; a reader leaves it out."""
    WARNING = "warning"
    """The thing it names is used, and somebody should look at it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation about one place.

    `code` is stable and machine-readable, `message` says what is wrong with the values seen, `hint` how to fix it, and
    `path` where it is (`Annotations/a.xml#object[3]`).
    """

    code: str
    severity: Severity
    message: str
    hint: str = ""
    path: str = ""


def error(code: str, message: str, *, hint: str = "", path: str = "") -> Finding:
    """An observation that makes its subject unusable."""
    return Finding(code, Severity.ERROR, message, hint, path)


def warning(code: str, message: str, *, hint: str = "", path: str = "") -> Finding:
    """An observation that leaves its subject usable."""
    return Finding(code, Severity.WARNING, message, hint, path)
