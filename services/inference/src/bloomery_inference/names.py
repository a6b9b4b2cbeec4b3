"""Names of the resources that the inference service owns."""

import re
from dataclasses import dataclass

from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.names import Pattern

PROJECT = Pattern("projects/{project}")
MODEL = Pattern("projects/{project}/models/{model}")
VERSION = Pattern("projects/{project}/models/{model}/versions/{version}")
VARIANT = Pattern("projects/{project}/models/{model}/versions/{version}/variants/{variant}")
DATASET_VERSION = Pattern("projects/{project}/datasets/{dataset}/versions/{version}")
ALIAS = Pattern("projects/{project}/models/{model}/aliases/{alias}")
DEPLOYMENT = Pattern("projects/{project}/deployments/{deployment}")
JOB = Pattern("projects/{project}/jobs/{job}")
ASSET = Pattern("projects/{project}/assets/{asset}")
LATEST = "latest"
_UID = re.compile(r"[0-9a-f]{32}")
_SELECTED = re.compile(
    r"(?P<model>projects/[^/]+/models/[^/]+)/versions/(?P<selector>[1-9][0-9]{0,17}|[0-9a-f]{32}|(?P<alias>[^/]+))"
)


@dataclass(frozen=True)
class Selector:
    """A version by number, by uid, by an alias, or the newest ("latest")."""

    project: str
    model: str
    version: str

    @property
    def number(self) -> int | None:
        """The number, where that is how it is named."""
        return int(self.version) if self.version.isdigit() and not self.is_uid else None

    @property
    def is_uid(self) -> bool:
        """Whether it is named by its uid."""
        return _UID.fullmatch(self.version) is not None

    @property
    def alias(self) -> str:
        """The alias, where that is how it is named, else ""."""
        return "" if self.is_lasting or self.version == LATEST else self.version

    @property
    def is_lasting(self) -> bool:
        """Whether it names the same version for ever."""
        return self.is_uid or self.number is not None


def parse_selector(name: str, field: str = "name") -> Selector:
    """Read the name of a version. Raise InvalidArgument naming `field` if it has another shape."""
    match = _SELECTED.fullmatch(name)
    if match is None or not (match["alias"] is None or ALIAS.matches(f"{match['model']}/aliases/{match['alias']}")):
        ends = f"a number, a uid, an alias or {LATEST!r} at the end"
        expected = f"{name[:100]!r} does not look like {VERSION.template}, with {ends}"
        raise InvalidArgument([FieldViolation(field, expected)])
    ids = MODEL.parse(match["model"], field)
    return Selector(ids["project"], ids["model"], match["selector"])


def check_alias(alias: str, field: str, violations: Violations) -> None:
    """Record a violation of `field` where an id means something else where a version is named."""
    if alias == LATEST or _UID.fullmatch(alias):
        violations.add(field, f"{alias!r} cannot be an alias: it stands for another way to name a version")


def check_lasting(name: str, field: str = "name") -> None:
    """Raise InvalidArgument for "latest" and aliases, which may name another version when a change is repeated."""
    selector = parse_selector(name, field)
    if not selector.is_lasting:
        called = repr(selector.version)
        text = f"must name the version by its number or uid: a repeat may mean another version than {called} now"
        raise InvalidArgument([FieldViolation(field, text)])


def parse_parent(name: str, pattern: Pattern, field: str = "parent") -> dict[str, str | None]:
    """The ids in a List's parent, None where "-" stands for all."""
    parts = name.split("/")
    ids = pattern.parse("/".join("any" if part == "-" else part for part in parts), field)
    return {key: None if part == "-" else ids[key] for key, part in zip(pattern.variables, parts[1::2], strict=True)}
