"""The resource names of the dataset service."""

import re
from dataclasses import dataclass

from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.names import Pattern

PROJECT = Pattern("projects/{project}")
DATASET = Pattern("projects/{project}/datasets/{dataset}")
ASSET = Pattern("projects/{project}/assets/{asset}")
ANY = "-"
_ID = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_VERSION = re.compile(
    rf"(projects/(?P<project>{_ID})/datasets/(?P<dataset>{_ID}))"
    r"/versions/(?:(?P<number>[1-9][0-9]{0,17})|(?P<uid>[0-9a-f]{32})|latest)"
)
_VERSION_SHAPE = "projects/{project}/datasets/{dataset}/versions/{version}, with a number, a uid or latest"


@dataclass(frozen=True)
class VersionName:
    """A version of a dataset: by number, by uid, or the latest one where both are None."""

    project: str
    dataset: str
    number: int | None = None
    uid: str | None = None

    def __str__(self) -> str:
        last = self.number or self.uid or "latest"
        return f"projects/{self.project}/datasets/{self.dataset}/versions/{last}"


def parse_members(name: str, field: str = "parent") -> tuple[VersionName, bool]:
    """The version of a name, and whether "-" stands for all of its dataset. Raises InvalidArgument."""
    if name.endswith("/versions/-"):
        return parse_version(f"{name[:-1]}latest", field), True
    return parse_version(name, field), False


def parse_version(name: str, field: str = "name") -> VersionName:
    """Read a version's name. Raises InvalidArgument naming `field`."""
    match = _VERSION.fullmatch(name)
    if match is None:
        problem = f"{name[:100]!r} does not look like {_VERSION_SHAPE}" if name else f"is required, as {_VERSION_SHAPE}"
        raise InvalidArgument([FieldViolation(field, problem)])
    number = match["number"]
    return VersionName(match["project"], match["dataset"], int(number) if number else None, match["uid"])


def parse_project(parent: str) -> str | None:
    """The project of a listing's parent; None for all. Raises InvalidArgument."""
    return None if parent == f"projects/{ANY}" else PROJECT.parse(parent, "parent")["project"]


def parse_dataset(parent: str) -> tuple[str | None, str | None]:
    """The project and dataset of a listing's parent, each None for all. Raises InvalidArgument."""
    parts = parent.split("/")
    if ANY not in parts[1::2]:
        ids = DATASET.parse(parent, "parent")
        return ids["project"], ids["dataset"]
    # Any id stands in for "-", so that one pattern checks the rest.
    ids = DATASET.parse("/".join("any" if part == ANY else part for part in parts), "parent")
    project, dataset = parts[1], parts[3]
    return (None if project == ANY else ids["project"]), (None if dataset == ANY else ids["dataset"])
