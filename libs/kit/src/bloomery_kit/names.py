"""Resource names and ids: one place that formats, parses and checks them."""

import hashlib
import re
import secrets
import time
from functools import cached_property

from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_ID_LENGTH = 63
_VARIABLE = re.compile(r"\{(\w+)\}")


class Pattern:
    """The shape of a resource name, as `Pattern("projects/{project}/datasets/{dataset}/versions/{version}")`.

    A variable named in `numbers` (by default `version`) holds a positive decimal number, any other an id.
    """

    def __init__(self, template: str, *, numbers: frozenset[str] = frozenset({"version"})) -> None:
        self.template = template
        self.variables = tuple(_VARIABLE.findall(template))
        self._numbers = numbers

    def __repr__(self) -> str:
        return f"Pattern({self.template!r})"

    def format(self, **ids: str | int) -> str:
        """The name made of `ids`. Raise KeyError for other variables than the pattern's, ValueError for a bad id."""
        if set(ids) != set(self.variables):
            raise KeyError(f"{self.template} takes {', '.join(self.variables)}")
        name = self.template.format(**ids)
        if not self.matches(name):
            raise ValueError(f"{name!r} does not match {self.template}")
        return name

    def matches(self, name: str) -> bool:
        """Whether `name` has this shape."""
        return self._regex.fullmatch(name) is not None

    def parse(self, name: str, field: str = "name") -> dict[str, str]:
        """The ids in `name`. Raise InvalidArgument naming `field` if it has another shape."""
        match = self._regex.fullmatch(name)
        if match is None:
            raise InvalidArgument([FieldViolation(field, self._expected(name))])
        return match.groupdict()

    def check(self, name: str, field: str, violations: Violations) -> dict[str, str] | None:
        """The ids in `name`, or None after recording a violation of `field`."""
        match = self._regex.fullmatch(name)
        if match is None:
            violations.add(field, self._expected(name))
            return None
        return match.groupdict()

    def _expected(self, name: str) -> str:
        if not name:
            return f"is required, as {self.template}"
        pairs = list(zip(self.template.split("/"), name.split("/"), strict=False))
        fixed = all(part == given for part, given in pairs if not _VARIABLE.fullmatch(part))
        ids = [given for part, given in pairs if part.strip("{}") in {*self.variables} - self._numbers]
        wrong = [given for given in ids if given and not _ID.fullmatch(given)] if fixed else []
        why = f": {wrong[0][:100]!r} {_rule(wrong[0])}" if wrong else ""
        return f"{name[:100]!r} does not look like {self.template}{why}"

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        def group(match: re.Match[str]) -> str:
            value = r"[1-9][0-9]{0,17}" if match[1] in self._numbers else _ID.pattern
            return f"(?P<{match[1]}>{value})"

        return re.compile(_VARIABLE.sub(group, self.template))


def validate_id(value: str, field: str, violations: Violations) -> None:
    """Record a violation of `field` unless `value` is an id."""
    if not _ID.fullmatch(value):
        violations.add(field, _rule(value))


def _rule(value: str) -> str:
    return (
        "must start with a lower-case letter, hold only lower-case letters, digits and hyphens, "
        f"not end with a hyphen, and have at most {_ID_LENGTH} characters; as in {_resembling(value)!r}"
    )


def make_id(text: str) -> str:
    """An id that resembles `text`: the text itself if it is one, else a slug with a suffix that tells texts apart."""
    if _ID.fullmatch(text):
        return text
    slug = _resembling(text)
    suffix = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug[: _ID_LENGTH - len(suffix) - 1].rstrip('-')}-{suffix}"


def _resembling(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"x-{slug}".rstrip("-")
    return slug[:_ID_LENGTH].rstrip("-")


def new_uid() -> str:
    """A fresh uid: 32 hex digits, of which the first twelve are milliseconds: indexes grow at their end."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def short_id(uid: str) -> str:
    """Twelve hex digits to make an id of: from the end of a uid, as those made together begin alike."""
    return uid[-12:]
