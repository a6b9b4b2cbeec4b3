"""The resource names of the access service."""

import re

from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.names import Pattern

PROJECT = Pattern("projects/{project}")
_TOKEN = re.compile(r"tokens/([0-9a-f]{16})")


def parse_token(name: str) -> str:
    """The id of a token. Raise InvalidArgument."""
    match = _TOKEN.fullmatch(name)
    if match is None:
        raise InvalidArgument([FieldViolation("name", f"{name[:100]!r} does not look like tokens/{{token}}")])
    return match[1]
