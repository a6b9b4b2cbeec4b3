"""Options with a form: KEY=VALUE, durations, sizes."""

import json
import re
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
    return {key: value(text) for key, text in pairs(texts, option).items()}


def lists(texts: Iterable[str], option: str) -> dict[str, list[float | str | bool]]:
    """What `texts` of the form KEY=VALUE,VALUE say, with numbers and booleans read as such; of a repeated key, all."""
    found: dict[str, list[float | str | bool]] = {}
    for text in texts:
        for key, listed in pairs([text], option).items():
            found.setdefault(key, []).extend(value(part) for part in listed.split(","))
    return found


def numbers(text: str, count: int, option: str) -> list[float]:
    """So many numbers between commas.

    Raises:
        typer.BadParameter: they are not.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise typer.BadParameter(f"must be {count} numbers with commas between them, not {text!r}", param_hint=option)
    return found


def value(text: str) -> float | str | bool:
    """A number or a boolean where a text is one, else the text."""
    try:
        read = json.loads(text)
    except ValueError:
        return text
    return read if isinstance(read, int | float | bool) else text


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES: dict[str, int] = {"": 1, "b": 1} | {
    prefix + ending: int(base**power)
    for power, prefix in enumerate("kmgt", 1)
    for ending, base in (("", 1024), ("ib", 1024), ("b", 1000))
}


def seconds(text: str) -> float:
    """A duration such as 2h, 90m, 1h30m or 5400.

    Raises:
        typer.BadParameter: it is none.
    """
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd]?)+", text):
        raise typer.BadParameter(f"{text!r} is no duration such as 2h, 90m or 5400 (seconds)")
    return sum(float(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text))


def size(text: str) -> int:
    """A number of bytes such as 4GiB, 500MB or 4G, which is the same as 4GiB.

    Raises:
        typer.BadParameter: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]*)", text.lower())
    if not found or found[2] not in _BYTES:
        raise typer.BadParameter(f"{text!r} is no size such as 4GiB or 500MB")
    count = round(float(found[1]) * _BYTES[found[2]])
    if count >= 2**63:
        raise typer.BadParameter(f"{text!r} is more than any machine has")
    return count
