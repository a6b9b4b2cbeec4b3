"""Names of the resources that the inference service owns."""

import re
from dataclasses import dataclass

from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.names import Pattern

PROJECT = Pattern("projects/{project}")
MODEL = Pattern("projects/{project}/models/{model}")
VERSION = Pattern("projects/{project}/models/{model}/versions/{version}")
VARIANT = Pattern("projects/{project}/models/{model}/versions/{version}/variants/{variant}")
JOB = Pattern("projects/{project}/jobs/{job}")
ASSET = Pattern("projects/{project}/assets/{asset}")
LATEST = "latest"
_SELECTED = re.compile(
    r"(?P<model>projects/[^/]+/models/[^/]+)/versions/(?P<selector>[1-9][0-9]{0,17}|[0-9a-f]{32}|latest)"
)


@dataclass(frozen=True)
class Selector:
    """A version by number, by uid, or the newest ("latest")."""

    project: str
    model: str
    version: str


def parse_selector(name: str, field: str = "name") -> Selector:
    """Read the name of a version. Raise InvalidArgument naming `field` if it has another shape."""
    match = _SELECTED.fullmatch(name)
    if match is None:
        expected = (
            f"{name[:100]!r} does not look like {VERSION.template}, with a number, a uid or {LATEST!r} at the end"
        )
        raise InvalidArgument([FieldViolation(field, expected)])
    ids = MODEL.parse(match["model"], field)
    return Selector(ids["project"], ids["model"], match["selector"])


def check_lasting(name: str) -> None:
    """Raise InvalidArgument for a version called "latest", which may be another one when a deletion is repeated."""
    if parse_selector(name).version == LATEST:
        text = f"must name the version by its number or uid: a repeat would mean another version than {LATEST!r} now"
        raise InvalidArgument([FieldViolation("name", text)])


def parse_parent(name: str, pattern: Pattern, field: str = "parent") -> dict[str, str | None]:
    """The ids in a List's parent, None where "-" stands for all."""
    parts = name.split("/")
    ids = pattern.parse("/".join("any" if part == "-" else part for part in parts), field)
    return {key: None if part == "-" else ids[key] for key, part in zip(pattern.variables, parts[1::2], strict=True)}
