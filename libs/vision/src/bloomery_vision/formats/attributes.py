"""Attributes of shapes are text; a file that knows more types gets back what stood in it.

A text stays as it is, anything else becomes JSON: `false`, `0.5`, `["a", "b"]`. A text that reads like such JSON itself
gets quotation marks.
"""

import json

_BEGINNINGS = frozenset('-0123456789tfn["{')
"""What JSON begins with."""


def as_text(value: object) -> str:
    """The text that stands for a value of a JSON file; "..." for one that nests too deeply to be written."""
    try:
        return value if isinstance(value, str) and as_value(value) is value else _written(value)
    except RecursionError:
        return "..."


def as_value(text: str) -> object:
    """The value that a text stands for; the text itself where it is not written just as `as_text` writes it."""
    if text[:1] not in _BEGINNINGS:
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
        return value if _written(value) == text else text
    except (ValueError, RecursionError):
        return text


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
