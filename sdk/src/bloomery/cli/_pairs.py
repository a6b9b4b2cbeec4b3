"""Options of the form KEY=VALUE."""

import json
from collections.abc import Iterable

import typer


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """What `texts` of the form KEY=VALUE say; the last one wins.

    Raises:
        typer.BadParameter: a text has no `=` or no key.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint=option)
        found[key] = value
    return found


def values(texts: Iterable[str], option: str) -> dict[str, float | str | bool]:
    """The same with numbers and booleans read as such."""
    return {key: _value(text) for key, text in pairs(texts, option).items()}


def _value(text: str) -> float | str | bool:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text
