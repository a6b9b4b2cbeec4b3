"""Shapes in a file that people edit."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from bloomery.vision.v1 import Shape

_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class ShapeFile:
    """What a file says: shapes, and where it was got from; None where it does not say."""

    shapes: "Sequence[Shape]"
    name: str | None = None
    etag: str | None = None

    def check_name(self, name: str) -> None:
        """Refuse to save shapes that were got from another image or set.

        Raises:
            typer.BadParameter: they were.
        """
        if self.name not in (None, name):
            raise _bad(f"has the shapes of {self.name}, not of {name}; take its `name` out to save them here")


def read(path: Path) -> ShapeFile:
    """Read a file, stdin where its name is "-".

    Raises:
        typer.BadParameter: it has no shapes; says all that is wrong with them.
    """
    found = _load(path)
    listed = found.get("shapes") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise _bad('must be a list of shapes, or an object with a list "shapes"')
    shapes, problems = _parsed(listed)
    about: dict[str, Any] = found if isinstance(found, dict) else {}
    problems += [f"{key} must be a text" for key in ("name", "etag") if not isinstance(about.get(key), str | None)]
    if problems:
        more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise _bad("; ".join(problems[:_MOST_PROBLEMS] + more))
    return ShapeFile(shapes, about.get("name"), about.get("etag"))


def _load(path: Path) -> object:
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(f"{path} cannot be read: {error}") from None


def _parsed(listed: Sequence[object]) -> "tuple[list[Shape], list[str]]":
    from bloomery._shapes import shape_from_json

    shapes, problems = [], []
    for number, one in enumerate(listed):
        try:
            shapes.append(shape_from_json(one))
        except ValueError as error:
            problems.append(f"shapes[{number}]: {error}")
    return shapes, problems


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--file")
