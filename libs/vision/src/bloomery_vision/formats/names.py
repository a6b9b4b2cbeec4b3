"""File names as people and tools spell them: what two spellings of one name have in common."""

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

_STUDIO_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_STUDIO_QUERY = re.compile(r"[?&]d=([^&]+)")


def nfc(text: str) -> str:
    """The text with its accents composed, as everyone but a Mac's file system writes them."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """What two spellings of one name share: accents composed, lower case."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()


def folder_of(path: str) -> str:
    """The folder that a POSIX path lies in, empty at the root."""
    return path.rpartition("/")[0]


def upwards(folder: str) -> Iterator[str]:
    """The folder and those above it, up to the root, which is empty."""
    while folder:
        yield folder
        folder = folder_of(folder)
    yield ""


def base_of(path: str) -> str:
    """The last part of a POSIX path."""
    return path.rpartition("/")[2]


def split_suffix(base: str) -> tuple[str, str]:
    """(stem, suffix with its dot in lower case) of a file name without folders."""
    stem, dot, suffix = base.rpartition(".")
    return (stem, f".{suffix.lower()}") if dot and stem else (base, "")


def spellings(name: str) -> list[str]:
    """A name as it stands, then as it may have been before a tool wrote it into an address."""
    if "?" not in name and "%" not in name:
        return [name] if name else []
    found = [name]
    if "?" in name:
        found.append(name.partition("?")[0])
        found += _STUDIO_QUERY.findall(name)
    if "%" in name:
        found += [unquote(one) for one in found]
    return list(dict.fromkeys(one for one in found if one))


def before_upload(base: str) -> str | None:
    """The name that a file had before Label Studio put eight hexadecimal digits before it, if it did."""
    shorter = _STUDIO_PREFIX.sub("", base)
    return shorter if shorter != base else None
