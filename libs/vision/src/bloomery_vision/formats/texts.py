"""Small annotation files as text."""

import codecs
import re

from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.source import Source

MAX_FILE_SIZE = 32 << 20
"""Bytes of an annotation file that belongs to one image, or of a list of names."""

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""What Windows programs put before a text, with the encoding that it tells."""

_LINE_END = re.compile(r"\r?\r?\n|\r")
"""Of Unix, Windows and old Macs, and of Windows programs that write Windows' own as one of two characters."""


def read_small(source: Source, name: str) -> bytes:
    """The content of a file that has no reason to be large.

    Raises:
        FormatError: FILE_TOO_LARGE, UNREADABLE.
    """
    content = read_head(source, name, MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise FormatError("FILE_TOO_LARGE", f"{name} is larger than {MAX_FILE_SIZE >> 20} MiB", "split it")
    return content


def read_head(source: Source, name: str, size: int) -> bytes:
    """The first bytes of a file. Raises FormatError UNREADABLE."""
    try:
        with source.open(name) as stream:
            return stream.read(size)
    except OSError as problem:
        raise FormatError("UNREADABLE", f"{name} cannot be read: {problem}", "upload the file again") from problem


def read_start(source: Source, name: str, size: int) -> str:
    """The first bytes of a file as text, be it none, with line ends as Unix has them. Raises FormatError UNREADABLE."""
    head = read_head(source, name, size)
    return _unix(head.decode(encoding_of(head), "replace"))


def read_text(source: Source, name: str) -> str:
    """The content of a small text file, with line ends as Unix has them.

    Raises:
        FormatError: BROKEN_FILE where it is neither UTF-8 nor marked as UTF-16; FILE_TOO_LARGE, UNREADABLE.
    """
    content = read_small(source, name)
    try:
        return _unix(content.decode(encoding_of(content)))
    except UnicodeDecodeError as problem:
        message = f"{name} is not text in UTF-8: {problem.reason} at byte {problem.start}"
        raise FormatError("BROKEN_FILE", message, "save it as UTF-8") from problem


def read_lines(source: Source, name: str) -> list[str]:
    """The lines of a small text file, each without the space around it. Raises FormatError as `read_text` does."""
    return [line.strip() for line in read_text(source, name).split("\n")]


def _unix(text: str) -> str:
    # Most texts have Unix's line ends already, each of which the search would stop at.
    return _LINE_END.sub("\n", text) if "\r" in text else text


def encoding_of(content: bytes) -> str:
    """The encoding that a text's first bytes tell, UTF-8 where they tell none."""
    return next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
